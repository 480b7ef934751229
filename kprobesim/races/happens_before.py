"""Which accesses of a run nothing orders: vector clocks over what CPUs read of each other.

FastTrack (Flanagan and Freund, PLDI 2009) without its list of locks: whatever one CPU stores and
another one loads orders what was before that store before what is behind that load, be it a lock, a
reference count, a flag or a pointer that is published. So locks need not be known, also where they
are inlined, and nothing is reported that a marked access may have ordered. A CPU's clock is the
number of its newest access in the run's log.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kprobesim.machine.unicorn.access_log import unpack_record
from kprobesim.races.access_kinds import AccessKinds, How, Update
from kprobesim.races.order import Order
from kprobesim.races.run_log import RunLog
from kprobesim.races.seen import Seen
from kprobesim.races.sequences import Sequences

__all__ = ["Conflict", "HappensBefore"]

_WORD = 8


class Conflict(NamedTuple):
    """Two accesses of one place by two CPUs that nothing orders, one of them a store.

    Attributes:
        first: Which came first in this run.
        second: The other one.
        what: "lost update", "torn" (one is not atomic), "freed" (one frees what the other one
            uses), or "unordered" (both may be marked).
        between: Of a lost update: the load whose value is outdated by the first one.
    """

    first: Seen
    second: Seen
    what: str
    between: Seen | None = None


class _Place:
    """What is known of eight bytes."""

    __slots__ = ("clock", "last", "loads", "mask", "owner", "value")

    def __init__(self, owner: int) -> None:
        self.owner = owner  # the only CPU that has used it so far; -1: there are more
        self.last: dict[tuple[int, int, int, bool], Seen] = {}
        self.loads: dict[int, Seen] = {}
        self.clock: list[int] | None = None
        self.mask = 0
        self.value: tuple[int, int] | None = None  # mask and what was stored last


class HappensBefore:
    """Finds conflicts in runs of one guest."""

    def __init__(self, kinds: AccessKinds, cpus: int) -> None:
        """Have seen no run.

        Args:
            kinds: What the guest's instructions are.
            cpus: How many CPUs run.
        """
        self._kinds, self._cpus = kinds, cpus

    def conflicts(
        self,
        log: RunLog,
        shared: Sequence[tuple[int, int, int]],
        orders: Iterable[Order] = (),
        *,
        every: bool = False,
    ) -> Iterator[Conflict]:
        """The conflicts of a run, as they come.

        Args:
            log: The run's.
            shared: The accesses to memory that CPUs share: index, CPU, step.
            orders: What else orders.
            every: Also those of two accesses that may both be marked.
        """
        found = _Run(self._kinds, self._cpus, every).look(log, shared, orders)
        sequences: Sequences | None = None
        for conflict in found:
            if sequences is None:
                sequences = Sequences(log, shared)
            if not sequences.check(conflict.first, conflict.second):
                yield conflict


class _Run:
    """One run."""

    def __init__(self, kinds: AccessKinds, cpus: int, every: bool) -> None:
        self._kinds, self._every = kinds, every
        self._clocks = [[-1] * cpus for _ in range(cpus)]
        self._before = [[-1] * cpus for _ in range(cpus)]  # of the atomic instruction that runs
        self._places: dict[int, _Place] = {}

    def look(
        self,
        log: RunLog,
        shared: Sequence[tuple[int, int, int]],
        orders: Iterable[Order],
    ) -> Iterator[Conflict]:
        records, at = log.records, self._kinds.at
        waiting = _Waiting(orders, self._clocks)
        for index, cpu, step in shared:
            if waiting.next <= index:
                waiting.come_to(index)
            pc, physical, value, size, is_store = unpack_record(records, index)
            how = at(pc)
            offset = physical & _WORD - 1
            if offset + size > _WORD:
                how |= How.MANY
            seen = Seen(index, cpu, step, pc, physical, size, value, is_store, how)
            place, mask = physical >> 3, (1 << size) - 1 << offset
            while mask:
                yield from self._one(seen, place, mask & 0xFF)
                place, mask = place + 1, mask >> _WORD

    def _one(self, seen: Seen, number: int, mask: int) -> Iterator[Conflict]:
        place = self._places.get(number)
        if place is None:
            place = self._places[number] = _Place(seen.cpu)
        index, cpu, how = seen.number, seen.cpu, seen.how
        alone = place.owner == cpu
        if not alone:
            place.owner = -1
        mine = self._clocks[cpu]
        whole = how & (How.ATOMIC | How.UPDATE)
        changes = not (how & How.ATOMIC and place.value == (mask, seen.value))
        if seen.is_store:
            known = self._before[cpu] if whole else mine
            if changes and not alone:
                yield from self._against(seen, place, mask, known)
                yield from self._lost(seen, place, mask)
            self._release(seen, place, mask)
        elif whole:
            self._before[cpu] = mine[:]
            self._acquire(mine, place)
        else:
            if not alone:
                yield from self._against(seen, place, mask, mine)
                self._acquire(mine, place)
            place.loads[cpu] = seen
        mine[cpu] = index
        if (seen.is_store and changes) or not whole:
            place.last[cpu, mask, how, seen.is_store] = seen

    def _acquire(self, mine: list[int], place: _Place) -> None:
        if place.clock is not None:
            _join(mine, place.clock)

    def _release(self, seen: Seen, place: _Place, mask: int) -> None:
        clock = self._clocks[seen.cpu][:]
        clock[seen.cpu] = seen.number
        if place.clock is not None and place.mask & ~mask:
            _join(clock, place.clock)
        place.clock, place.mask = clock, place.mask | mask
        place.value = mask, seen.value

    def _against(
        self, seen: Seen, place: _Place, mask: int, known: Sequence[int]
    ) -> Iterator[Conflict]:
        for (cpu, other_mask, _how, is_store), other in place.last.items():
            if (
                cpu != seen.cpu
                and other.number > known[cpu]
                and mask & other_mask
                and (is_store or seen.is_store)
            ):
                what = _judge(other, seen)
                if what in ("torn", "freed") or (what and self._every):
                    yield Conflict(other, seen, what)

    def _lost(self, seen: Seen, place: _Place, mask: int) -> Iterator[Conflict]:
        """Between the load that a plain store is made of and itself another CPU has stored."""
        load = place.loads.get(seen.cpu)
        if load is None or seen.how & (How.ATOMIC | How.UPDATE | How.LOCKS):
            return
        known = self._clocks[seen.cpu]
        for (cpu, other_mask, how, is_store), other in place.last.items():
            if (
                cpu != seen.cpu
                and is_store
                and other.number > load.number
                and other.number > known[cpu]
                and mask & other_mask
                and not how & How.LOCKS
            ):
                update = self._kinds.update(load.pc, seen.pc)
                if update is Update.NUMBER or (update is Update.BITS and other.value != seen.value):
                    yield Conflict(other, seen, "lost update", load)


class _Waiting:
    """Orders that are still to come.

    Attributes:
        next: Before which access the next thing happens.
    """

    def __init__(self, orders: Iterable[Order], clocks: Sequence[list[int]]) -> None:
        events = [(order.since, 0, order) for order in orders]
        events += [(order.at, 1, order) for _, _, order in events]
        self._events = sorted(events, reverse=True)
        self._clocks, self._known = clocks, dict[Order, list[int]]()
        self._tell()

    def _tell(self) -> None:
        self.next = self._events[-1][0] if self._events else sys.maxsize

    def come_to(self, index: int) -> None:
        """Access number ``index`` comes next."""
        while self.next <= index:
            before, is_over, order = self._events.pop()
            if is_over:
                _join(self._clocks[order.target], self._known[order])
            else:
                known = self._known[order] = self._clocks[order.source][:]
                known[order.source] = max(known[order.source], before - 1)
            self._tell()


def _join(mine: list[int], other: Sequence[int]) -> None:
    for number, clock in enumerate(other):
        if clock > mine[number]:
            mine[number] = clock


def _judge(first: Seen, second: Seen) -> str:
    """What two unordered accesses are; "": they are as they should be."""
    one, two = first.how, second.how
    frees = [each.is_store and each.how & How.FREES for each in (first, second)]
    if any(frees) and not all(frees) and not (one | two) & (How.OWN | How.ATOMIC):
        return "freed"
    if (one | two) & (How.OWN | How.LOCKS):
        return ""
    if (one | two) & How.MANY:
        return "torn"
    stores = first.is_store and second.is_store
    if stores and (one | two) & How.UPDATE:
        return "torn"
    return "" if (one | two) & How.ATOMIC else "unordered"
