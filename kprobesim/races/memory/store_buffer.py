"""``StoreBuffer``: stores of one CPU that the others do not see yet, and in which order they will.

"tso" is x86-TSO (Owens, Sarkar and Sewell, "A Better x86 Memory Model", TPHOLs 2009): first in,
first out, but for stores past the caches (Intel SDM, volume 3, 9.2.2), which others may see late
until an SFENCE. "weak" lets stores to different places be seen in any order that barriers and
releases leave open. Loads that come early are :mod:`~kprobesim.races.memory.early_loads`' affair.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kprobesim.arch.ordering import Ordering
from kprobesim.races.run_log import places_of

__all__ = ["Entry", "Pending", "StoreBuffer"]


class Entry(NamedTuple):
    """The stores of one instruction.

    Attributes:
        number: Its place among those of its CPU.
        step: The instructions of the CPU's lane before this one.
        writes: (Physical address, bytes) of each store.
        floor: Entries with smaller numbers are seen before it.
        release: Whether a load-acquire behind it waits for it.
        fence: Entries with smaller numbers are seen before it even if they are ``streaming``.
        streaming: Whether it is a store past the caches.
    """

    number: int
    step: int
    writes: tuple[tuple[int, bytes], ...]
    floor: int
    release: bool = False
    fence: int = 0
    streaming: bool = False

    def comes_behind(self, other: Entry) -> bool:
        """Whether others see it only when they see ``other``, an earlier one."""
        first = self.fence if other.streaming else self.floor
        return other.number < first or any(
            a < b + len(there) and b < a + len(here)
            for a, here in self.writes
            for b, there in other.writes
        )


@dataclass(frozen=True)
class Pending:
    """What a CPU's buffer held when the CPU stopped.

    Attributes:
        entries: In program order.
    """

    entries: tuple[Entry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries)

    def held(self, steps: Collection[int]) -> tuple[int, ...]:
        """The steps that stay if those of ``steps`` do: also what may only be seen behind them."""
        held: list[Entry] = []
        places: set[int] = set()
        wanted, streams = frozenset(steps), False
        first: int | None = None  # the number of the first one that others wait for
        for entry in self.entries:
            mine = {place for at, data in entry.writes for place in places_of(at, len(data))}
            if (
                entry.step in wanted
                or (first is not None and first < entry.floor)
                or ((streams or not mine.isdisjoint(places)) and any(map(entry.comes_behind, held)))
            ):
                held.append(entry)
                places |= mine
                streams = streams or entry.streaming
                if first is None and not entry.streaming:
                    first = entry.number
        return tuple(entry.step for entry in held)

    def choices(self) -> list[tuple[int, ...]]:
        """What an exploration lets stay: all, one and what comes behind it, all but one's way."""
        found = dict.fromkeys([self.held([entry.step for entry in self.entries])])
        for entry in self.entries:
            found[self.held([entry.step])] = None
            seen = {each.number for each in before_and(entry, self.entries)}
            rest = tuple(each.step for each in self.entries if each.number not in seen)
            found[self.held(rest)] = None
        found.pop((), None)
        return list(found)


def before_and(entry: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """``entry``, and those of ``entries`` before it that are seen when it is, in program order."""
    needed = [entry]
    for other in reversed([each for each in entries if each.number < entry.number]):
        if any(each.comes_behind(other) for each in needed):
            needed.append(other)
    return needed[::-1]


class StoreBuffer:
    """The buffer of one CPU.

    Attributes:
        entries: What others do not see yet, in program order.
    """

    def __init__(self, *, fifo: bool, visible: Callable[[Entry], object]) -> None:
        """Be empty.

        Args:
            fifo: Whether stores are seen in program order: x86-TSO.
            visible: Called with each entry when others are to see it.
        """
        self.entries: list[Entry] = []
        self._fifo, self._visible = fifo, visible
        self._count = self._floor = 0

    def store(
        self,
        step: int,
        writes: Iterable[tuple[int, bytes]],
        ordering: Ordering = Ordering.PLAIN,
        *,
        delayed: bool = True,
    ) -> None:
        """An instruction stores.

        Args:
            step: The instructions of the CPU's lane before it.
            writes: (Physical address, bytes) of each store.
            ordering: What it says of the order.
            delayed: Whether others may see it later than the CPU itself.
        """
        number = self._count
        if not ordering and delayed:
            floor = number if self._fifo else self._floor
            self.entries.append(Entry(number, step, tuple(writes), floor, False, self._floor))
            self._count += 1
            return
        release = Ordering.RELEASE in ordering
        streaming = Ordering.STREAMING in ordering
        behind_all = (self._fifo and not streaming) or release
        floor = number if behind_all else self._floor
        entry = Entry(number, step, tuple(writes), floor, release, self._floor, streaming)
        self._count += 1
        self.entries.append(entry)
        if not delayed or Ordering.ATOMIC in ordering:
            self._let_see(before_and(entry, self.entries))

    def barrier(self, ordering: Ordering) -> None:
        """An instruction orders what came before it."""
        atomic = Ordering.ATOMIC in ordering
        if Ordering.FULL in ordering or (atomic and (self._fifo or Ordering.RELEASE in ordering)):
            self.drain()
        elif Ordering.STORES in ordering:
            self._floor = self._count
        elif Ordering.ACQUIRE in ordering:
            releases = [entry for entry in self.entries if entry.release]
            if releases:
                self._let_see(before_and(releases[-1], self.entries))

    def pending(self) -> Pending:
        """What is in it now."""
        return Pending(tuple(self.entries))

    def keep(self, steps: Collection[int]) -> None:
        """Let others see all but the stores of ``steps``."""
        self._let_see([entry for entry in self.entries if entry.step not in steps])

    def drain(self) -> None:
        """Let others see all."""
        self._let_see(self.entries)

    def _let_see(self, seen: Iterable[Entry]) -> None:
        numbers = set()
        for entry in [*seen]:
            self._visible(entry)
            numbers.add(entry.number)
        self.entries = [entry for entry in self.entries if entry.number not in numbers]
