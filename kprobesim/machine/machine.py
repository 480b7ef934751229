"""A CPU with memory: runs guest functions and hands its traps to whoever wants them."""

from __future__ import annotations

from typing import Any

from kprobesim.errors import EngineError, UsageError
from kprobesim.machine.calling import Calling
from kprobesim.machine.counter_clock import CounterClock
from kprobesim.machine.cpu import make_cpu
from kprobesim.machine.guard_pages import GuardedArea
from kprobesim.machine.heap import Heap
from kprobesim.machine.memory import DIRECT_MAP, GuestMemory, Prot, Region
from kprobesim.machine.own_instructions import own_instructions
from kprobesim.machine.randomness import Randomness
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.sizes import PAGE

__all__ = ["Machine"]

_BLOCK = 2 << 20
_TLB_ENTRIES = 256, 8192  # what Unicorn starts with, and what we want


class Machine(Calling):
    """A guest whose functions are called: memory, code and stacks of the host's making.

    A trap that no probe and no handler takes ends the call as a :class:`GuestFault`.
    """

    def __init__(self, arch: str, ram_size: int, image_end: int = 0) -> None:
        engine = Engine(arch)
        engine.stop_between_blocks()
        engine.count_blocks()
        cpu = make_cpu(engine)
        memory = GuestMemory(cpu.isa.ram_base, ram_size, cpu.pte_format)
        engine.map_ram(memory.base, ram_size, memory.host_address)
        super().__init__(engine, cpu, memory)
        self.memory.next_frame = max(image_end, memory.base + _BLOCK)
        self.cpu.start(self.memory)
        self.clock: CounterClock = CounterClock()
        self._watched = own_instructions(self, self.memory, self.clock)
        self._direct_map()
        page = self.memory.map_new(self.isa.vmalloc_start, PAGE, Prot.RX, "return pad")
        self.return_to(page.start)
        self._widen_tlb(page.start)
        self.memory.write(page.start, self.cpu.halt)

    # -- memory ------------------------------------------------------------------------------------

    def _direct_map(self) -> None:
        """All RAM at the kernel's direct map; the heap is the upper part of what is free.

        At its end a quarter of the heap is not mapped: guard pages lie there.
        """
        memory = self.memory
        start = self.isa.page_offset
        free = memory.base + memory.size - memory.next_frame
        if free < 8 * _BLOCK:
            raise UsageError(
                f"{memory.size >> 20} MiB of RAM are too few for this kernel: "
                f"use at least {(memory.size - free + 16 * _BLOCK) >> 20} MiB"
            )
        heap = memory.next_frame + free // 4 & -_BLOCK
        end = memory.base + memory.size
        guarded = end - max((end - heap) // 4, GuardedArea.least_bytes()) & -_BLOCK
        offset = guarded - memory.base
        memory.map(start, memory.base, offset, Prot.RW, DIRECT_MAP)
        self.heap = Heap(start + heap - memory.base, start + offset)
        self.guarded = GuardedArea(
            memory, start + offset, memory.size - offset, self.engine.flush_tlb, self.heap
        )
        self.explainers.append(self._explain_bounds)
        memory.limit_frames(heap)

    def _explain_bounds(self, trap: Trap, regs: PtRegs) -> str:
        """Which argument, allocation or stack a fault is out of bounds of."""
        if trap.address is None:
            return ""
        text = self.stacks.explain(trap.address, self.depth)
        return text or self.guarded.explain(trap.address)

    def see_code(self, address: int, code: bytes | memoryview) -> None:
        """Code has been put at ``address``: what Unicorn does not execute right there is done here.

        Clocks and random numbers that it reads are ours, too.
        """
        for each in self._watched:
            each.see_code(address, code)

    def unmap(self, region: Region) -> None:
        """Take memory of ``map_new`` away; nothing of the guest may be running there."""
        if region.prot & Prot.X:
            for each in self._watched:
                each.forget_code(region.start, region.end)
            self.memory.wrote(region.offset, region.end - region.start)
        self.memory.unmap(region)
        self.engine.flush_tlb()

    def protect(self, region: Region, prot: Prot) -> Region:
        """Change what the guest may do with memory of ``map_new``."""
        region = self.memory.protect(region, prot)
        self.engine.flush_tlb()
        return region

    def _widen_tlb(self, scratch: int) -> None:
        """Grow the TLB by filling it before each flush: only then does Unicorn double it.

        It is direct-mapped, and with 256 entries any two pages 1 MiB apart throw each other out:
        sha256 on ARM64 took 35 ms a megabyte and takes 12, memcpy of 8 MiB took 26 ms and takes 4.
        """
        toucher, before = self.cpu.page_toucher, self.engine.new_context()
        self.memory.write(scratch, toucher)
        pointer, counter = self.cpu.regs_class.ARGUMENTS[:2]
        entries, wanted = _TLB_ENTRIES
        while entries < wanted:
            self.words[pointer], self.words[counter] = self.isa.page_offset, entries
            status = self.engine.run(scratch)
            if status:
                raise EngineError(f"Unicorn stopped at once: {self.engine.describe(status)}")
            self.engine.flush_tlb()
            entries *= 2
        before.restore()
        self.memory.write(scratch, bytes(len(toucher)))

    # -- states ------------------------------------------------------------------------------------

    def check_idle(self) -> None:
        """Raise :class:`UsageError` while a call runs."""
        if self.depth:
            raise UsageError("the guest is running: its state can be had between two calls")

    def save_clock(self) -> Any:
        """What decides the times and random numbers to come, for :meth:`restore_clock`."""
        numbers = [each.state for each in self._watched if isinstance(each, Randomness)]
        run_time = self.engine.run_time
        return self.clock.value, numbers, 0 if run_time is None else run_time.now()

    def restore_clock(self, kept: Any) -> None:
        """Times and random numbers are those that come after :meth:`save_clock` gave ``kept``."""
        self.clock.value, numbers, now = kept
        if self.engine.run_time is not None:
            self.engine.run_time.set(now)
        sources = [each for each in self._watched if isinstance(each, Randomness)]
        for source, state in zip(sources, numbers, strict=True):
            source.state = state
