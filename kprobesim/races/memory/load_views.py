"""``LoadViews``: how old what a CPU loads may be, after all that the CPU has done.

These are the views of Promising-ARM (Pulte and others, "Promising-ARM/RISC-V: a simpler and faster
operational concurrency model", PLDI 2019), which is proven to be the architecture's model: for each
register the time that its value depends on, and the times that barriers, acquires, branches and
what was loaded from a place before put under later loads. A load may be of the memory of any time
that is not below these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kprobesim.arch.arm64.dataflow import Dataflow, bits_of
from kprobesim.arch.ordering import Ordering
from kprobesim.races.memory.history import History, SeenStore
from kprobesim.races.run_log import places_of

__all__ = ["Effect", "LoadViews", "Touch"]

_PAIR = 2
_NO_EARLY_LOADS = Ordering.ATOMIC | Ordering.EXCLUSIVE


class Effect(NamedTuple):
    """What an instruction does to order and registers, whenever it runs.

    Attributes:
        ordering: What it orders.
        addresses: The registers that say where in memory.
        sources: Those whose values it uses.
        computed: Those that it computes.
        loaded: Those that it loads.
        second: Those of them that the second access of a pair is for.
        decides: Those that say which instruction is next.
        early: Whether its loads may be done early.
    """

    ordering: Ordering
    addresses: tuple[int, ...]
    sources: tuple[int, ...]
    computed: tuple[int, ...]
    loaded: tuple[int, ...]
    second: tuple[int, ...]
    decides: tuple[int, ...]
    early: bool

    @classmethod
    def of(cls, ordering: Ordering, flow: Dataflow, early: bool) -> Effect:
        """That of an instruction with this ordering and data flow."""
        return cls(
            ordering,
            bits_of(flow.addresses),
            bits_of(flow.sources),
            bits_of(flow.computed),
            bits_of(flow.loaded & ~flow.second),
            bits_of(flow.second),
            bits_of(flow.decides),
            early and not ordering & _NO_EARLY_LOADS,
        )


class Touch(NamedTuple):
    """An access of an instruction: where, how many bytes, and whether it stores."""

    physical: int
    size: int
    is_store: bool


class _Own(NamedTuple):
    """The CPU's newest store to a place."""

    physical: int
    size: int
    step: int
    view: int  # of what it depends on
    others: int  # of older ones to the same place that it does not cover


class LoadViews:
    """Those of one CPU.

    Attributes:
        cpu: Its number.
    """

    def __init__(self, cpu: int, history: History, registers: int) -> None:
        """Nothing has run yet.

        Args:
            cpu: The CPU's number.
            history: The stores that all see.
            registers: How many registers there may be.
        """
        self.cpu, self._history = cpu, history
        self._registers = [0] * registers
        self._loads = self._bound = self._branches = self._released = 0
        self._own: dict[int, _Own] = {}  # by place
        self._read: defaultdict[int, int] = defaultdict(int)  # by place: the newest time of a load
        self._stores: list[int] = []  # the steps of own stores that no barrier stands behind
        self._releases: list[int] = []

    @property
    def knows_nothing(self) -> bool:
        """Whether nothing that it did depends on any store of another CPU."""
        return not self._loads and not self._bound

    def forget(self, now: int) -> None:
        """It is not known what the CPU did: no load behind is done before ``now``."""
        self._registers = [now] * len(self._registers)
        self._loads = self._bound = self._branches = self._released = now

    def executed(
        self,
        effect: Effect,
        step: int,
        touches: Sequence[Touch],
        now: int,
        early: int | None = None,
    ) -> None:
        """An instruction has run.

        Args:
            effect: What it does.
            step: The CPU's instructions before.
            touches: Its accesses.
            now: The time: no other CPU runs meanwhile.
            early: The time of the memory that it has loaded from; ``None``: now.
        """
        views, ordering = self._registers, effect.ordering
        address = data = 0
        for at in effect.addresses:
            address = max(address, views[at])
        for at in effect.sources:
            data = max(data, views[at])
        if not touches and not ordering:
            made = max(address, data)
            for at in effect.computed:
                views[at] = made
            for at in effect.decides:
                self._branches = max(self._branches, views[at])
            return
        if ordering:
            self._before(ordering)
        low, store = max(address, self._pre(ordering)), False
        loads: list[int] = []
        for touch in touches:
            if touch.is_store:
                store = True
            else:
                loads.append(max(low, self._load(touch, now, early)))
        loaded, load = max(loads, default=0), bool(loads)
        self._loads = max(self._loads, loaded)
        if store:
            self._store(effect, step, touches, max(address, data))
        if load and ordering & (Ordering.ACQUIRE | Ordering.ACQUIRE_PC):
            self._bound = max(self._bound, loaded)
        if touches:
            self._branches = max(self._branches, address)
        for at in effect.decides:
            self._branches = max(self._branches, views[at])
        for at in effect.computed:
            views[at] = max(address, data)
        one, two = loads if effect.second and len(loads) == _PAIR else (loaded, loaded)
        for at in effect.loaded:
            views[at] = one
        for at in effect.second:
            views[at] = two

    def may_come_before(
        self, effect: Effect, touches: Iterable[Touch], now: int
    ) -> Iterator[SeenStore]:
        """The stores of other CPUs before which the next instruction may do its loads.

        Args:
            effect: What it does.
            touches: Its accesses.
            now: The time.
        """
        if not effect.early or (Ordering.ACQUIRE in effect.ordering and self._holds_release()):
            return
        low = max([self._registers[at] for at in effect.addresses], default=0)
        low = max(low, self._pre(effect.ordering))
        found: set[SeenStore] = set()
        for touch in touches:
            if touch.is_store:
                return
            for place in places_of(touch.physical, touch.size):
                low = max(low, self._read[place])
                own = self._own.get(place)
                if own is not None:
                    time = self._history.time_of(self.cpu, own.step)
                    if not time:
                        return  # in its buffer, so nobody else's is newer
                    low = max(low, time)
            found.update(self._history.newest_first(touch.physical, touch.size, now))
        yield from sorted(each for each in found if each.time > low)

    def _holds_release(self) -> bool:
        """Whether a store-release is in the CPU's buffer, which a load-acquire waits for."""
        return not all(self._history.time_of(self.cpu, step) for step in self._releases)

    def _pre(self, ordering: Ordering) -> int:
        """What a load waits for."""
        if Ordering.ACQUIRE in ordering:
            return max(self._bound, self._released)
        return self._bound

    def _before(self, ordering: Ordering) -> None:
        """What an instruction waits for."""
        if ordering & (Ordering.LOADS | Ordering.FULL):
            self._bound = max(self._bound, self._loads)
        if Ordering.FULL in ordering:
            self._wait_for(self._stores)
            self._stores.clear()
        if Ordering.ACQUIRE in ordering:
            times = [self._history.time_of(self.cpu, step) for step in self._releases]
            self._released = max([self._released, *times])
            self._releases = [
                step for step, time in zip(self._releases, times, strict=True) if not time
            ]
        if Ordering.CONTEXT in ordering:
            self._bound = max(self._bound, self._branches)

    def _wait_for(self, steps: Iterable[int]) -> None:
        time_of, cpu = self._history.time_of, self.cpu
        self._bound = max([self._bound, *(time_of(cpu, step) for step in steps)])

    def _load(self, touch: Touch, now: int, early: int | None) -> int:
        """The time that what is loaded depends on."""
        physical, size, _ = touch
        end = physical + size
        places = places_of(physical, size)
        if early is None:
            forwarded: list[int] = []
            for place in places:
                own = self._own.get(place)
                if own is None:
                    continue
                time = self._history.time_of(self.cpu, own.step)
                if time and time < self._newest_of_others(touch, now):
                    continue  # another CPU has stored over it
                forwarded += [own.view]
                if not (own.physical <= physical and end <= own.physical + own.size):
                    forwarded += [own.others, self._newest_of_others(touch, now)]
                elif len(places) == 1:
                    return own.view  # from its own buffer
            if forwarded:
                found = max(*forwarded, self._newest_of_others(touch, now))
            else:
                found = self._history.newest(physical, size, now)
        else:
            found = self._history.newest(physical, size, early)
        for place in places:
            self._read[place] = max(self._read[place], found)
        return found

    def _newest_of_others(self, touch: Touch, now: int) -> int:
        stores = self._history.newest_first(touch.physical, touch.size, now)
        return max((store.time for store in stores if store.cpu != self.cpu), default=0)

    def _store(self, effect: Effect, step: int, touches: Iterable[Touch], view: int) -> None:
        if Ordering.ATOMIC in effect.ordering:  # all see it at once, and what is made of it
            view = max(view, self._history.time_of(self.cpu, step))
            if Ordering.FULL in effect.ordering:
                self._bound = max(self._bound, view)
        self._stores.append(step)
        if Ordering.RELEASE in effect.ordering:
            self._releases.append(step)
        for physical, size, is_store in touches:
            if is_store:
                for place in places_of(physical, size):
                    self._own[place] = self._over(self._own.get(place), physical, size, step, view)

    @staticmethod
    def _over(own: _Own | None, physical: int, size: int, step: int, view: int) -> _Own:
        covers = own is None or (
            physical <= own.physical and own.physical + own.size <= physical + size
        )
        others = own.others if own is not None else 0
        if not covers and own is not None:
            others = max(others, own.view)
        return _Own(physical, size, step, view, others)
