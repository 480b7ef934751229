"""``StoreBuffers``: what each CPU has stored and the others do not see yet, in one guest's memory.

While a CPU runs all of its own stores are simply in memory. When another one is to run, those that
others do not see yet are taken out again; when the CPU comes back they are put over what is there
then. As CPUs only change between two runs of the engine, this is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from kprobesim.arch.architecture import architecture
from kprobesim.arch.arm64.dataflow import Dataflow
from kprobesim.arch.ordering import Ordering
from kprobesim.errors import GuestMemoryError
from kprobesim.machine.unicorn.access_log import AccessLog, columns, unpack_record
from kprobesim.machine.unicorn.every_instruction import EveryInstruction
from kprobesim.races.memory.early_loads import EarlyLoads
from kprobesim.races.memory.history import History
from kprobesim.races.memory.load_views import Effect
from kprobesim.races.memory.seen_memory import SeenMemory
from kprobesim.races.memory.store_buffer import Entry, Pending, StoreBuffer
from kprobesim.races.run_log import GRAIN
from kprobesim.races.schedule import Early
from kprobesim.sizes import PAGE

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["StoreBuffers"]

Steps = Collection[int]

_LONGEST = 16  # bytes of an instruction
_MOST_PATH = 1 << 20  # instructions of a run; what comes later is seen at once


class StoreBuffers:
    """The buffers of all CPUs.

    Attributes:
        path: Notes which instructions run; it is to be on as the log is.
        waits: Where a CPU waited until others saw what it had stored: (CPU, its instructions
            before), in order.
    """

    def __init__(
        self,
        log: AccessLog,
        machine: System,
        ordering: Callable[[bytes], Ordering],
        delays: Callable[[int], bool],
        initial: Callable[[int, int], bytes],
        cpus: int,
        *,
        fifo: bool,
        dataflow: Callable[[int], Dataflow] | None = None,
    ) -> None:
        """All are empty.

        Args:
            log: The accesses of a run.
            machine: The guest's.
            ordering: What an instruction does to the order, by its bytes.
            delays: Whether the stores of an instruction may be delayed, by its address.
            initial: What was in the RAM when a run began, by offset and size.
            cpus: How many there are.
            fifo: Whether stores are seen in program order.
            dataflow: What an instruction depends on, by its word: loads may be done early;
                ``None``: they are done in program order.
        """
        abi = architecture(machine.arch).abi
        sp = abi.number(abi.stack_pointer)
        self.path = path = EveryInstruction(machine.engine, 1, _MOST_PATH, sp, everywhere=True)
        path.enough = lambda: setattr(path, "on", False)
        self._log, self._memory = log, machine.memory
        self._base = machine.memory.base
        self._last = self._base + len(machine.memory.ram) - 1
        self._ordering, self._delays = ordering, delays
        self._cpus, self._fifo = cpus, fifo
        self._orderings: dict[int, Ordering] = {}
        self._ordered: set[int] = set()  # the addresses where it is not PLAIN
        self._delayed: dict[int, bool] = {}
        self._dataflow, self._effects = dataflow, dict[int, Effect]()
        self._seen = SeenMemory(lambda physical, size: initial(physical - self._base, size))
        self.loads = None
        if dataflow is not None:
            history = History(lambda physical, size: initial(physical - self._base, size))
            self.loads = EarlyLoads(machine, log, path, history, self._effect_at, cpus)
        self._trusts = False
        self._tracked: Collection[int] | None = ()
        self._stored_by: dict[int, int] = {}  # the addresses of instructions, by number
        self._cut: set[int] = set()  # instructions that store into two pages, of which one is known
        self._wanted: Sequence[Steps] | None = None
        self._begin()

    def _begin(self) -> None:
        self._buffers = [
            StoreBuffer(fifo=self._fifo, visible=partial(self._see, cpu))
            for cpu in range(self._cpus)
        ]
        if self.loads is not None:
            self.loads.clear()
        self._seen.clear()
        self._over: list[Entry] = []  # what lies over them now
        self._cpu: int | None = None
        self._kept: Steps = ()
        self._first = 0
        self.waits: list[tuple[int, int]] = []

    def track(self, places: Collection[int] | None, wanted: Sequence[Steps] | None) -> None:
        """Say what the next run is to look at.

        Args:
            places: Stores to these places (physical addresses, divided by 8) may be delayed;
                ``None``: to all.
            wanted: By CPU the steps whose stores are delayed, and no others are; ``None``: that is
                not known.
        """
        self._tracked, self._wanted = places, wanted
        self._trusts = wanted is not None

    def clear(self) -> None:
        """A run begins."""
        self._begin()
        self.path.clear()
        self.path.on = True

    # -- switches ----------------------------------------------------------------------------------

    def keep(self, steps: Steps) -> tuple[int, ...]:
        """Choose which stores of the CPU that runs the others will not see when they run.

        Returns:
            The steps that stay: also those that may only be seen behind them.
        """
        assert self._cpu is not None
        self._kept = kept = self._buffers[self._cpu].pending().held(steps)
        return kept

    def enter(self, cpu: int, *, settled: bool = False) -> None:
        """CPU ``cpu`` is about to run.

        Args:
            cpu: Its number. If it is the one that has run last, a while has passed: all see what
                the other ones had stored.
            settled: Whether all see all.
        """
        before, self._kept, kept = self._cpu, (), self._kept
        places: list[Entry] = []
        if before is not None:
            if kept:  # else memory is as all see it
                places += [*self._over, *self._buffers[before].entries]
            self._buffers[before].keep(kept)
        for number, buffer in enumerate(self._buffers):
            if settled or (number != before and cpu == before):
                places += buffer.entries
                buffer.drain()
        read = self._seen.read
        self._put((at, read(at, len(data))) for entry in places for at, data in entry.writes)
        self._cpu, self._over = cpu, list(self._buffers[cpu].entries)
        self._put(write for entry in self._over for write in entry.writes)
        self._first = len(self.path)

    def settle(self) -> None:
        """Let all see all: the run is over, or somebody waits."""
        if self._cpu is not None:
            self.enter(self._cpu, settled=True)

    def pending(self) -> Pending:
        """What the CPU that runs has in its buffer."""
        return Pending() if self._cpu is None else self._buffers[self._cpu].pending()

    def _put(self, writes: Iterable[tuple[int, bytes]]) -> None:
        """Let the guest's memory hold this, in order."""
        memory, pages = self._memory, set[int]()
        ram, base = memory.ram, memory.base
        for physical, data in writes:
            at = physical - base
            ram[at : at + len(data)] = data
            pages.add(at // PAGE)
        for page in pages:
            memory.wrote(page * PAGE, PAGE)

    def _see(self, cpu: int, entry: Entry) -> None:
        if self.loads is not None:
            self.loads.history.see(cpu, entry.step, entry.writes)
        for physical, data in entry.writes:
            self._seen.write(physical, data)

    # -- what has run ------------------------------------------------------------------------------

    def ran(self, before: int, first: int, done: int) -> None:
        """The CPU that runs has executed ``done`` instructions.

        Args:
            before: Those of its lane before.
            first: The number of the first access of these in the log.
            done: How many.
        """
        assert self._cpu is not None
        buffer, start = self._buffers[self._cpu], self._first
        self._first = len(self.path)
        if self.loads is not None:
            self.loads.ran(self._cpu, before, start, min(done, self._first - start), first)
        stores = self._stores(first)
        if not stores and not buffer.entries:
            return
        addresses = self.path.addresses_of(start, min(start + done, self._first))
        if self.path.full or not self._are_theirs(addresses):
            buffer.drain()
            for number, unseen in stores.items():
                self._see(self._cpu, Entry(0, before + number - 1, tuple(unseen), 0))
            return
        self._look_at(addresses)
        wanted = None if self._wanted is None else self._wanted[self._cpu]
        ordered = self._ordered
        barriers = [i for i, address in enumerate(addresses, 1) if address in ordered]
        for number in sorted({*stores, *barriers}):
            address = addresses[number - 1]
            ordering = self._orderings[address]
            writes = stores.get(number)
            if ordering:
                full = len(buffer.entries)
                buffer.barrier(ordering)
                if len(buffer.entries) < full:
                    self.waits.append((self._cpu, before + number - 1))
            if writes is None:
                continue
            step = before + number - 1
            if wanted is not None and step not in wanted:
                self._see(self._cpu, Entry(0, step, tuple(writes), 0))
                continue
            if number in self._cut:
                buffer.drain()
                self._see(self._cpu, Entry(0, step, tuple(writes), 0))
                continue
            buffer.store(step, writes, ordering, delayed=self._may_delay(address))

    def _are_theirs(self, addresses: Sequence[int]) -> bool:
        """Whether the stores that were just found are of these instructions, by their numbers.

        They are not where other code has run in between, as for a handler that calls the guest.
        """
        count = len(addresses)
        return all(n <= count and addresses[n - 1] == pc for n, pc in self._stored_by.items())

    def early(self, early: Early) -> AbstractContextManager[None]:
        """Do the next instruction's loads early, in the block, if that may be.

        Args:
            early: The load, and before what it is done.
        """
        assert self._cpu is not None
        if self.loads is None or self.path.full:
            return nullcontext()
        return self.loads.done_early(self._cpu, early, trust=self._trusts)

    @property
    def was_early(self) -> bool:
        """Whether the last one that was to be done early was."""
        return self.loads is not None and self.loads.was_early

    def early_loads(self) -> Sequence[tuple[int, Early]]:
        """See :meth:`.EarlyLoads.all_found`."""
        return () if self.loads is None or self.path.full else self.loads.all_found()

    def _may_delay(self, address: int) -> bool:
        delayed = self._delayed.get(address)
        if delayed is None:
            delayed = self._delayed[address] = self._delays(address)
        return delayed

    def _effect_at(self, address: int) -> Effect:
        effect = self._effects.get(address)
        if effect is None:
            assert self._dataflow is not None
            code = self._code(address)
            flow = self._dataflow(int.from_bytes(code[:4], "little"))
            effect = Effect.of(self._ordering(code), flow, self._may_delay(address))
            self._effects[address] = effect
        return effect

    def _stores(self, first: int) -> dict[int, list[tuple[int, bytes]]]:
        """What is stored to places that are tracked, by the number of the instruction.

        Of a store that ends in another page the log does not say where that is: all see it at once.
        """
        found: dict[int, list[tuple[int, bytes]]] = {}
        tracked, self._cut, self._stored_by = self._tracked, set[int](), {}
        if tracked is not None and not tracked:
            return found
        records = self._log.records(first)
        numbers, places, sizes, stores = columns(records)
        those = [at for at, store in enumerate(stores) if store]
        if tracked is not None:
            those = [
                at
                for at in those
                if places[at] >> GRAIN in tracked or places[at] + sizes[at] - 1 >> GRAIN in tracked
            ]
        for at in those:
            pc, physical, value, size, _ = unpack_record(records, at)
            if not self._base <= physical <= self._last:
                continue  # a device's: at once
            self._stored_by[numbers[at]] = pc
            data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            room = PAGE - physical % PAGE
            if size > room:
                self._cut.add(numbers[at])
                data = data[:room]
            found.setdefault(numbers[at], []).append((physical, data))
        return found

    def _look_at(self, addresses: Iterable[int]) -> None:
        for address in {*addresses} - self._orderings.keys():
            found = self._ordering(self._code(address))
            self._orderings[address] = found
            if found:
                self._ordered.add(address)

    def _code(self, address: int) -> bytes:
        """An instruction, and what is behind it."""
        try:
            return self._memory.read(address, _LONGEST)
        except GuestMemoryError:
            return self._memory.read(address, min(_LONGEST, PAGE - address % PAGE))
