"""Memory that a called kernel gets from the host: data, guarded data, code, arguments of calls."""

from __future__ import annotations

from typing import Any

from kprobesim.errors import UsageError
from kprobesim.machine.guard_pages import POISON_FREE
from kprobesim.machine.heap import Heap
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Prot
from kprobesim.machine.memory_map import CODE
from kprobesim.sizes import PAGE, page_up

__all__ = ["CalledMemory"]

_CODE_CHUNK = 1 << 20


class CalledMemory:
    """Gives memory of ``machine`` out and takes it back; what is free is poison."""

    code_region = CODE.name
    """The name of the regions that executable memory is given from."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._guarded = machine.guarded
        self._code_heaps: list[Heap] = []
        self._next_code = machine.isa.modules_start + CODE.offset
        self.lend, self.take_back = self._guarded.lend, self._guarded.take_back

    def alloc(self, size: int, *, executable: bool, guard: bool) -> int:
        """The address of ``size`` zeroed bytes; raises :class:`UsageError`."""
        if executable and guard:
            raise UsageError("executable memory has no guard: leave guard= or executable= out")
        if guard:
            return self._guarded.alloc(size)
        address = self._alloc_code(size) if executable else self._machine.heap.alloc(size)
        self._machine.write(address, bytes(size))
        return address

    def free(self, address: int) -> None:
        """Give memory from :meth:`alloc` back; raises :class:`UsageError` for other memory."""
        if address in self._guarded:
            self._guarded.free(address)
            return
        machine = self._machine
        for heap in self._code_heaps:
            if address in heap:
                poison = machine.isa.trap_fill
                break
        else:
            heap, poison = machine.heap, POISON_FREE
        machine.write(address, poison * heap.size_of(address))
        heap.free(address)

    def _alloc_code(self, size: int) -> int:
        for heap in self._code_heaps:
            if heap.fits(size):
                return heap.alloc(size)
        memory, chunk = self._machine.memory, max(_CODE_CHUNK, page_up(size))
        start = memory.find_gap(self._next_code, 1 << 64, chunk)
        region = memory.map_new(start, chunk, Prot.RX, self.code_region)
        self._next_code = region.end + PAGE
        self._code_heaps.append(Heap(region.start, region.end))
        return self._code_heaps[-1].alloc(size)

    def save(self) -> Any:
        """What has been given out, for :meth:`restore`."""
        heaps = [(heap, heap.save()) for heap in (self._machine.heap, *self._code_heaps)]
        return heaps, self._code_heaps[:], self._next_code, self._guarded.save()

    def restore(self, kept: Any) -> None:
        """Memory and its regions are as they were when :meth:`save` gave ``kept``."""
        heaps, self._code_heaps, self._next_code, guarded = kept
        self._code_heaps = self._code_heaps[:]
        for heap, state in heaps:
            heap.restore(state)
        self._guarded.restore(guarded)
