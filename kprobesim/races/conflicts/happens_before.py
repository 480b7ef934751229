"""Which accesses of a run nothing orders: vector clocks over what CPUs read of each other.

FastTrack (Flanagan and Freund, PLDI 2009) without its list of locks: whatever one CPU stores and
another one loads orders what was before that store before what is behind that load, be it a lock, a
reference count, a flag or a pointer that is published. So locks need not be known, also where they
are inlined, and nothing is reported that a marked access may have ordered. A CPU's clock is the
number of its newest access in the run's log.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from kprobesim.races.conflicts.access_kinds import AccessKinds, How, Update
from kprobesim.races.conflicts.sequences import Sequences
from kprobesim.races.order import Order
from kprobesim.races.run_log import RunLog
from kprobesim.races.seen import Seen
from kprobesim.sizes import MASK64

__all__ = ["Conflict", "HappensBefore", "is_lost"]

_WORD = 8


class Conflict(NamedTuple):
    """Two accesses of one place by two CPUs that nothing orders, one of them a store.

    Attributes:
        first: Which came first in this run.
        second: The other one.
        what: "lost update", "perhaps lost" (it is if the store is made of the load), "torn" (one is
            not atomic), "freed" (one frees what the other one uses), "early" (the second CPU has
            seen a later store of the first one, and no barrier lies between both), or "unordered"
            (both may be marked).
        leads: Of what is unordered, but for a barrier: what the second CPU has loaded that the
            first one has stored later, and that may be a pointer.
        between: Of a lost update: the load whose value is outdated by the first one.
    """

    first: Seen
    second: Seen
    what: str
    between: Seen | None = None
    leads: tuple[int, ...] = ()


class _Place:
    """What is known of eight bytes."""

    __slots__ = ("bare", "clocks", "last", "loads", "owner", "value")

    def __init__(self, owner: int) -> None:
        self.owner = owner  # the only CPU that has used it so far; -1: there are more
        self.last: dict[tuple[int, int, int, bool], Seen] = {}
        self.loads: dict[tuple[int, int], Seen] = {}  # by CPU and mask
        self.clocks: dict[int, list[int]] = {}  # by mask: what who loads these bytes learns
        self.bare: dict[int, Seen] = {}  # by mask: stores that release nothing, nor are atomic
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
        orders: Iterable[Order] = (),
        *,
        every: bool = False,
        wanted: Callable[[Conflict], Conflict | None] = lambda conflict: conflict,
        told: Container[tuple[str, int, int]] = (),
    ) -> Iterator[Conflict]:
        """The conflicts of a run, as they come.

        Args:
            log: The run's.
            orders: What else orders.
            every: Also those of two accesses that may both be marked.
            wanted: Asked for each that may be one: what to tell in its place; ``None``: nothing.
            told: Need not be told again: :attr:`Conflict.what`, and the lower and the higher pc.
        """
        sequences: Sequences | None = None
        for each in _Run(self._kinds, self._cpus, every, told).look(log, orders):
            conflict = wanted(each)
            if conflict is not None:
                if sequences is None:
                    sequences = Sequences(log)
                if not sequences.check(conflict.first, conflict.second):
                    yield conflict


class _Run:
    """One run."""

    def __init__(
        self, kinds: AccessKinds, cpus: int, every: bool, told: Container[tuple[str, int, int]]
    ) -> None:
        self._kinds, self._every, self._told = kinds, every, told
        # Of each CPU, what of each other one's comes before: all accesses, as far as loads show it;
        # behind them, where stores may be seen in another order, its stores, as barriers say.
        width = 2 * cpus if kinds.weak else cpus
        self._stores = width - cpus
        self._clocks = [[-1] * width for _ in range(cpus)]
        self._before = [[-1] * width for _ in range(cpus)]  # of the atomic instruction that runs
        self._fences = [-1] * cpus  # its newest access that a barrier lies behind
        # By CPU: which plain store of another one it has loaded, and where it did so.
        self._flags: list[dict[tuple[int, int, int], tuple[Seen, Seen]]] = [{} for _ in range(cpus)]
        self._read_barriers: list[dict[int, int]] = [{} for _ in range(cpus)]  # newest, by address
        self._places: dict[int, _Place] = {}
        self._found: list[Conflict] = []

    def look(self, log: RunLog, orders: Iterable[Order]) -> Iterator[Conflict]:
        at, found = self._kinds.at, self._found
        waiting = _Waiting(orders, self._clocks, self._stores)
        if self._stores:
            waiting.add(log.barriers, self._barrier)
        for index, cpu, step, pc, physical, value, size, is_store in log.contested:
            if waiting.next <= index:
                waiting.come_to(index)
            how = at(pc)
            offset = physical & _WORD - 1
            if offset + size > _WORD:
                how |= How.MANY
            seen = Seen(index, cpu, step, pc, physical, size, value, is_store, how)
            place, mask = physical >> 3, (1 << size) - 1 << offset
            while mask:
                self._one(seen, place, mask & 0xFF)
                place, mask = place + 1, mask >> _WORD
            if found:
                yield from found
                found.clear()

    def _one(self, seen: Seen, number: int, mask: int) -> None:
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
                self._against(seen, place, mask, known)
                self._lost(seen, place, mask)
            self._release(seen, place, mask)
        elif whole:
            self._before[cpu] = mine[:]
            self._acquire(seen, mine, place, mask)
        else:
            if not alone:
                self._against(seen, place, mask, mine)
                self._acquire(seen, mine, place, mask)
            place.loads[cpu, mask] = seen
        mine[cpu] = mine[cpu + self._stores] = index
        if (seen.is_store and changes) or not whole:
            place.last[cpu, mask, how, seen.is_store] = seen

    def _acquire(self, seen: Seen, mine: list[int], place: _Place, mask: int) -> None:
        for stored, clock in place.clocks.items():
            if stored & mask:
                _join(mine, clock)
                flag = place.bare.get(stored)
                if flag is not None and flag.cpu != seen.cpu:
                    self._flags[seen.cpu][flag.pc, seen.pc, flag.value] = flag, seen

    def _barrier(self, cpu: int, pc: int, before: int) -> None:
        """A CPU comes to a barrier."""
        how = self._kinds.at(pc)
        if how & How.FENCE:
            self._fences[cpu] = before
        if how & How.ACQUIRE:
            self._read_barriers[cpu][pc] = before

    def _release(self, seen: Seen, place: _Place, mask: int) -> None:
        clock = self._clocks[seen.cpu][:]
        clock[seen.cpu] = clock[seen.cpu + self._stores] = seen.number
        if self._stores and not seen.how & How.RELEASE:
            clock[seen.cpu + self._stores] = self._fences[seen.cpu]
        clocks = place.clocks
        if len(clocks) > (mask in clocks):
            for stored in [stored for stored in clocks if not stored & ~mask]:
                del clocks[stored]
        clocks[mask] = clock
        if self._stores:
            if seen.how & (How.RELEASE | How.ATOMIC):
                place.bare.pop(mask, None)
            else:
                place.bare[mask] = seen
        place.value = mask, seen.value

    def _against(self, seen: Seen, place: _Place, mask: int, known: Sequence[int]) -> None:
        stores, mine, one_stores = self._stores, seen.cpu, seen.is_store
        for (cpu, other_mask, _how, is_store), other in place.last.items():
            if (
                cpu != mine
                and (is_store or one_stores)
                and other.number > known[cpu + stores if is_store else cpu]
                and mask & other_mask
            ):
                what, leads = _judge(other, seen), tuple[int, ...]()
                if not what or self._is_told(what, other.pc, seen.pc):
                    continue
                if what == "unordered" and other.number <= known[cpu]:
                    what, leads = self._flagged(other, seen)
                if what != "unordered" or self._every or leads:
                    self._found.append(Conflict(other, seen, what, leads=leads))

    def _is_told(self, what: str, one: int, two: int) -> bool:
        """Whether nothing new would come of such a conflict."""
        if what == "unordered" and not self._every:
            what = "early"  # if it is told at all
        return ((what, one, two) if one < two else (what, two, one)) in self._told

    def _flagged(self, store: Seen, seen: Seen) -> tuple[str, tuple[int, ...]]:
        """How the second CPU came to see a store that no barrier lies behind, and what it saw.

        It has loaded what the function that made the store has stored later: a flag, if the
        function that uses it waits for that load by an acquire or a barrier; or a pointer.
        """
        same, what, leads = self._kinds.are_in_one_function, "unordered", []
        barriers = [at for pc, at in self._read_barriers[seen.cpu].items() if same(pc, seen.pc)]
        last = max(barriers, default=-1)
        for flag, load in self._flags[seen.cpu].values():
            if flag.cpu == store.cpu and flag.number > store.number and same(flag.pc, store.pc):
                waits = load.how & How.ACQUIRE or load.number < last
                if waits and same(load.pc, seen.pc):
                    what = "early"
                if load.size == _WORD:
                    leads.append(flag.value & MASK64)
        return what, tuple(leads)

    def _lost(self, seen: Seen, place: _Place, mask: int) -> None:
        """Between the load that a plain store is made of and itself another CPU has stored."""
        if seen.how & (How.ATOMIC | How.UPDATE | How.LOCKS):
            return
        known = self._clocks[seen.cpu]
        loads = [
            load for (cpu, loaded), load in place.loads.items() if cpu == seen.cpu and loaded & mask
        ]
        for (cpu, other_mask, how, is_store), other in place.last.items() if loads else ():
            if (
                cpu != seen.cpu
                and is_store
                and other.number > known[cpu + self._stores]
                and mask & other_mask
                and not how & How.LOCKS
            ):
                for load in loads:
                    if other.number > load.number:
                        update = self._kinds.update(load.pc, seen.pc)
                        conflict = Conflict(other, seen, "lost update", load)
                        if update is Update.FAR:
                            self._found.append(conflict._replace(what="perhaps lost"))
                        elif is_lost(update, conflict):
                            self._found.append(conflict)


def is_lost(update: Update, conflict: Conflict) -> bool:
    """Whether what one CPU has stored is lost by the store of the other one.

    Args:
        update: What became of what that one had loaded before.
        conflict: The stores of both.
    """
    changes = conflict.first.value != conflict.second.value
    return update is Update.NUMBER or (update is Update.BITS and changes)


class _Waiting:
    """What is still to come that is no access.

    Attributes:
        next: Before which access the next thing happens.
    """

    def __init__(self, orders: Iterable[Order], clocks: Sequence[list[int]], stores: int) -> None:
        """Nothing has come yet.

        Args:
            orders: What orders besides accesses.
            clocks: Of the CPUs, live.
            stores: Where in a clock stores begin.
        """
        self._clocks, self._stores = clocks, stores
        self._known: dict[Order, list[int]] = {}
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        for order in orders:
            self._events.append((order.since, 0, partial(self._begin, order)))
            self._events.append((order.at, 1, partial(self._end, order)))
        self._sort()

    def add(
        self, barriers: Iterable[tuple[int, int, int]], come: Callable[[int, int, int], None]
    ) -> None:
        """Call ``come`` where CPUs come to barriers: with the CPU, the pc and the place."""
        self._events += [(at, 2, partial(come, cpu, pc)) for at, cpu, pc in barriers]
        self._sort()

    def _sort(self) -> None:
        self._events.sort(key=itemgetter(0, 1), reverse=True)
        self._tell()

    def _tell(self) -> None:
        self.next = self._events[-1][0] if self._events else sys.maxsize

    def come_to(self, index: int) -> None:
        """Access number ``index`` comes next."""
        while self.next <= index:
            before, _, happens = self._events.pop()
            happens(before)
            self._tell()

    def _begin(self, order: Order, before: int) -> None:
        known = self._known[order] = self._clocks[order.source][:]
        for at in {order.source, order.source + self._stores}:
            known[at] = max(known[at], before - 1)

    def _end(self, order: Order, _before: int) -> None:
        _join(self._clocks[order.target], self._known[order])


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
