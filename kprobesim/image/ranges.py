"""Ranges of addresses that are asked often: a kernel with a section a function has 50,000."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

__all__ = ["Range", "Ranges"]

#: First address, and the first one behind.
Range = tuple[int, int]


class Ranges:
    """Ranges in order; those that overlap are one, and empty ones none."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(ranges):
            if start >= end:
                continue
            if self._ends and start < self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Range]:
        return zip(self._starts, self._ends, strict=True)

    def __contains__(self, address: int) -> bool:
        index = bisect_right(self._starts, address) - 1
        return index >= 0 and address < self._ends[index]

    def overlaps(self, start: int, end: int) -> bool:
        """Whether an address of ``[start, end)`` is in one of them."""
        return bisect_right(self._ends, start) < bisect_left(self._starts, end)
