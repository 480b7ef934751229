"""``History``: all stores to memory that CPUs share, in the order in which all CPUs see them.

A time is how many stores all see by then. All CPUs see them in one order (ARM64 is multi-copy
atomic: Pulte and others, "Simplifying ARM Concurrency", POPL 2018), so a load that is done early is
one of the memory as it was at an earlier time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kprobesim.races.run_log import places_of

__all__ = ["History", "SeenStore"]


class SeenStore(NamedTuple):
    """A store that all see.

    Attributes:
        time: How many all see with it.
        cpu: Whose it is.
        step: The instructions of that CPU before it.
        physical: Where.
        data: What is stored.
    """

    time: int
    cpu: int
    step: int
    physical: int
    data: bytes

    def overlaps(self, physical: int, size: int) -> bool:
        """Whether it changes any of these bytes."""
        return physical < self.physical + len(self.data) and self.physical < physical + size


class History:
    """The stores of one run.

    Attributes:
        now: How many all see.
    """

    def __init__(self, initial: Callable[[int, int], bytes]) -> None:
        """Nothing is stored yet.

        Args:
            initial: What was in memory when the run began, by physical address and size.
        """
        self._initial = initial
        self.clear()

    def clear(self) -> None:
        """A run begins."""
        self.now = 0
        self._stores: defaultdict[int, list[SeenStore]] = defaultdict(list)  # by place
        self._fresh: list[tuple[int, int, int, tuple[tuple[int, bytes], ...]]] = []
        self._times: dict[tuple[int, int], int] = {}

    def see(self, cpu: int, step: int, writes: tuple[tuple[int, bytes], ...]) -> None:
        """All see what one instruction has stored, at once."""
        self.now += 1
        self._fresh.append((self.now, cpu, step, writes))

    def _sort(self) -> None:
        """Put into their places what nobody has asked for yet."""
        stores, times = self._stores, self._times
        for time, cpu, step, writes in self._fresh:
            times[cpu, step] = time
            for physical, data in writes:
                store = SeenStore(time, cpu, step, physical, data)
                for place in places_of(physical, len(data)):
                    stores[place].append(store)
        self._fresh.clear()

    def time_of(self, cpu: int, step: int) -> int:
        """Since when all see what this instruction has stored; 0: they do not."""
        if self._fresh:
            self._sort()
        return self._times.get((cpu, step), 0)

    def newest_first(self, physical: int, size: int, now: int) -> Iterator[SeenStore]:
        """The stores to any of these bytes that are seen at a time, those of a place in order."""
        if self._fresh:
            self._sort()
        for place in places_of(physical, size):
            for store in reversed(self._stores.get(place, ())):
                if store.time <= now and store.overlaps(physical, size):
                    yield store

    def newest(self, physical: int, size: int, now: int) -> int:
        """The time of the newest store to any of these bytes that is seen at ``now``; 0: none."""
        return max((store.time for store in self.newest_first(physical, size, now)), default=0)

    def places_of_others(self, cpu: int) -> set[int]:
        """Where other CPUs than this one have stored."""
        self._sort()
        return {
            place
            for place, stores in self._stores.items()
            if any(store.cpu != cpu for store in stores)
        }

    def read(self, physical: int, size: int, now: int) -> bytes:
        """What all saw of these bytes at a time."""
        data, known = bytearray(self._initial(physical, size)), bytearray(size)
        for store in sorted(self.newest_first(physical, size, now), reverse=True):
            for at, byte in enumerate(store.data, store.physical - physical):
                if 0 <= at < size and not known[at]:
                    data[at], known[at] = byte, 1
        return bytes(data)
