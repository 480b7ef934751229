"""``EarlyLoads``: loads that a CPU does before it should, as if ``smp_rmb()`` were missing.

A CPU executes in order, so a load that is done early is one that reads what memory was before: it
is executed once to see where it loads from, these bytes are put back to what they were before a
store of another CPU, and it is executed again. How far back is what :class:`LoadViews` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, NamedTuple

from kprobesim.errors import GuestMemoryError
from kprobesim.machine.unicorn.access_log import AccessLog, columns, instructions, read_records
from kprobesim.machine.unicorn.every_instruction import EveryInstruction
from kprobesim.races.memory.history import History
from kprobesim.races.memory.load_views import Effect, LoadViews, Touch
from kprobesim.races.run_log import GRAIN
from kprobesim.races.schedule import Early

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["REGISTERS", "EarlyLoads"]

REGISTERS = 72
"""As many as :mod:`kprobesim.arch.arm64.dataflow` has bits for."""

_LONGEST = 8  # bytes of an access
_MOST_ADDRESSES = 2  # registers; an instruction that is not known has all


class _Part(NamedTuple):
    """A while in which one CPU has run."""

    before: int  # its instructions before
    path: int  # the number of the first one in the path
    steps: int
    first: int  # its first access in the log
    end: int
    now: int  # what all had seen when it began
    early: int | None  # the time of the memory that it loads from


class EarlyLoads:
    """Those of all CPUs in one guest.

    Attributes:
        history: What all have seen; whoever owns this fills it.
        was_early: Whether the last instruction that was to load early has done so.
    """

    def __init__(
        self,
        machine: System,
        log: AccessLog,
        path: EveryInstruction,
        history: History,
        effect_at: Callable[[int], Effect],
        cpus: int,
    ) -> None:
        """Nothing has run yet.

        Args:
            machine: The guest's.
            log: The accesses of a run.
            path: Its instructions.
            history: What all see.
            effect_at: What the instruction at an address does.
            cpus: How many CPUs there are.
        """
        self._machine, self._log, self._path = machine, log, path
        self.history, self._effect_at, self._cpus = history, effect_at, cpus
        self._context = machine.engine.new_context()
        self._pc = machine.engine.layout.pc
        self.clear()

    def clear(self) -> None:
        """A run begins."""
        self.history.clear()
        numbers = range(self._cpus)
        self._views = [LoadViews(cpu, self.history, REGISTERS) for cpu in numbers]
        self._parts: list[list[_Part]] = [[] for _ in numbers]
        self._walked = [0 for _ in numbers]
        self._found: list[list[Early]] = [[] for _ in numbers]
        self._time: int | None = None
        self.was_early = False

    def ran(self, cpu: int, before: int, path: int, steps: int, first: int) -> None:
        """A CPU has run.

        Args:
            cpu: Its number.
            before: Its instructions before.
            path: The number of the first one in the path.
            steps: How many they are.
            first: The number of the first access in the log.
        """
        part = _Part(before, path, steps, first, len(self._log), self.history.now, self._time)
        self._parts[cpu].append(part)

    @contextmanager
    def done_early(self, cpu: int, early: Early, *, trust: bool) -> Iterator[None]:
        """The next instruction, which runs in the block, loads early if nothing forbids it.

        Args:
            cpu: Whose it is.
            early: Which load it is, and before which store of another CPU it is done.
            trust: Whether it is known that the CPU may do so.
        """
        self.was_early = False
        pc, noted = self._machine.words[self._pc], len(self._path)
        touches = self._look_ahead()
        time = self._time_before(cpu, early, touches, trust)
        if time is None:
            yield
            return
        memory = self._machine.memory
        kept: list[tuple[slice, bytes]] = []
        for physical, size, _ in touches:
            at = slice(physical - memory.base, physical - memory.base + size)
            kept.append((at, bytes(memory.ram[at])))
            memory.ram[at] = self.history.read(physical, size, time)
        self._time = time
        try:
            yield
            # Unless an interrupt came first.
            self.was_early = len(self._path) > noted and self._path.address(noted) == pc
        finally:
            self._time = None
            if not self.was_early and self._parts[cpu]:
                self._parts[cpu][-1] = self._parts[cpu][-1]._replace(early=None)
            for at, data in kept:
                memory.ram[at] = data

    def all_found(self) -> list[tuple[int, Early]]:
        """Of the run so far, each load that could have been done earlier: its CPU, and before what.

        In the order of each CPU; of one load the newest store comes last.
        """
        for cpu in range(self._cpus):
            if self._may_find(cpu):
                self._walk(cpu)
        return [(cpu, early) for cpu, found in enumerate(self._found) for early in found]

    def _may_find(self, cpu: int) -> bool:
        """Whether it loads at all from where others had stored before."""
        others = self.history.places_of_others(cpu)
        for part in self._parts[cpu] if others else ():
            _, addresses, _, stores = columns(self._log.records(part.first, part.end))
            loads = [*compress(addresses, map(not_, stores))] if part.now else []
            for last in (0, _LONGEST - 1):
                if not others.isdisjoint(address + last >> GRAIN for address in loads):
                    return True
        return False

    def _look_ahead(self) -> Sequence[Touch]:
        """Where the next instruction loads from; nothing if it does anything else."""
        effect = self._effect_at(self._machine.words[self._pc])
        if (
            not effect.early
            or not (effect.loaded or effect.second)
            or len(effect.addresses) > _MOST_ADDRESSES
            or not all(map(self._leads_to_ram, effect.addresses[:1]))
        ):
            return ()
        engine, log, path = self._machine.engine, self._log, self._path
        first, noted, at = len(log), len(path), self._machine.words[self._pc]
        self._context.save()
        try:
            engine.run(at, 1)
            touches = [
                Touch(each.physical, each.size, each.is_store)
                for each in read_records(log.records(first))
            ]
            alone = len(path) == noted + 1 and path.address(noted) == at
        finally:
            log.forget_from(first)
            while len(path) > noted:
                path.drop_last(path.address(len(path) - 1))
            self._context.restore()
        memory = self._machine.memory
        inside = all(memory.base <= each.physical for each in touches) and all(
            each.physical + each.size <= memory.base + len(memory.ram) for each in touches
        )
        plain = alone and inside and not any(each.is_store for each in touches)
        return touches if plain else ()

    def _leads_to_ram(self, register: int) -> bool:
        """Whether it is an address of RAM: what a device is asked it is asked once."""
        try:
            self._machine.memory.physical(self._machine.words[register], 1)
        except GuestMemoryError:
            return False
        return True

    def _time_before(
        self, cpu: int, early: Early, touches: Sequence[Touch], trust: bool
    ) -> int | None:
        """The time of the memory that is loaded; ``None``: it may not be loaded early."""
        time = self.history.time_of(early.cpu, early.store)
        if not touches or not time:
            return None
        if not trust:
            self._walk(cpu)
            effect = self._effect_at(self._machine.words[self._pc])
            allowed = self._views[cpu].may_come_before(effect, touches, self.history.now)
            if time not in {store.time for store in allowed}:
                return None
        return time - 1

    def _walk(self, cpu: int) -> None:
        """Follow what the CPU did since the last time."""
        parts, views, found = self._parts[cpu], self._views[cpu], self._found[cpu]
        for part in parts[self._walked[cpu] :]:
            self._walk_part(cpu, part, views, found)
        self._walked[cpu] = len(parts)

    def _walk_part(self, cpu: int, part: _Part, views: LoadViews, found: list[Early]) -> None:
        touches: dict[int, list[Touch]] = {}
        records = self._log.records(part.first, part.end)
        addresses = self._path.addresses_of(part.path, part.path + part.steps)
        count = len(addresses)
        accesses = zip(instructions(records), *columns(records), strict=True)
        for pc, number, physical, size, is_store in accesses:
            if number > count or addresses[number - 1] != pc:
                views.forget(part.now)  # other code has run in between
                return
            touches.setdefault(number, []).append(Touch(physical, size, bool(is_store)))
        nothing = views.knows_nothing
        for number, pc in enumerate(addresses, 1):
            here = touches.get(number, ())
            effect = self._effect_at(pc)
            if nothing and not here and not effect.ordering:
                continue
            step = part.before + number - 1
            if here and part.now and part.early is None:
                for store in views.may_come_before(effect, here, part.now):
                    found.append(Early(step, store.cpu, store.step))
            views.executed(effect, step, here, part.now, part.early)
            nothing = nothing and views.knows_nothing
