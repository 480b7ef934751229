"""What an action keeps, for one key or without any, as words: a count, a sum, a histogram."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from kprobesim.programs.actions import (
    Count,
    Histogram,
    Keyed,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Sum,
)
from kprobesim.programs.stores.words import Words
from kprobesim.programs.types import Int
from kprobesim.sizes import MASK64

__all__ = ["Buckets", "Cell", "CountCell", "Total", "cell_of"]


class Cell(Protocol):
    """How one kind of action keeps its words."""

    words: int
    """How many they are; all are 0 at first."""

    def add(self, words: Words, at: int, value: int) -> None:
        """One hit with ``value``."""

    def read(self, words: Words, at: int) -> Any:
        """What the words tell."""


class Total(NamedTuple):
    """A sum, a least or a greatest number, and of how many.

    ``value`` is ``None`` where there was no hit to have a least or greatest one.
    """

    value: int | None
    hits: int

    @property
    def mean(self) -> float:
        """Of a sum: by hit; 0.0 if there was none."""
        return (self.value or 0) / self.hits if self.hits else 0.0


class Buckets(Mapping[tuple["int | None", "int | None"], int]):
    """A histogram as it was: the count of each slot that is not empty, by (least, greatest).

    ``None`` stands for "any". As text it is what people draw of it.
    """

    def __init__(self, scale: Log2 | Linear, counts: list[int]) -> None:
        self.scale = scale
        self.counts = counts
        """Of all slots, the empty ones too."""

    def _slots(self) -> list[int]:
        last = len(self.counts) - 1
        order = [last, *range(last)] if isinstance(self.scale, Log2) else list(range(last + 1))
        return [slot for slot in order if self.counts[slot]]

    def __iter__(self) -> Iterator[tuple[int | None, int | None]]:
        return (self.scale.bounds(slot) for slot in self._slots())

    def __len__(self) -> int:
        return len(self._slots())

    def __getitem__(self, bounds: tuple[int | None, int | None]) -> int:
        for slot in self._slots():
            if self.scale.bounds(slot) == bounds:
                return self.counts[slot]
        raise KeyError(bounds)

    @property
    def total(self) -> int:
        """How many hits there were."""
        return sum(self.counts)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Buckets):
            return self.scale == other.scale and self.counts == other.counts
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} buckets of {self.total} hits>"

    def __str__(self) -> str:
        """One line a slot, as bpftrace and BCC draw them."""
        most, rows = max(self.counts, default=0), []
        for (low, high), count in self.items():
            least = "" if low is None else f"{low}"
            greatest = "" if high is None else f"{high}"
            bar = "#" * (40 * count // most)
            rows.append(f"{least:>12} .. {greatest:<12} {count:>10} |{bar:<40}|")
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from kprobesim import html

        def name(low: int | None, high: int | None) -> str:
            if low == high and low is not None:
                return str(low)
            return f"{'' if low is None else low} .. {'' if high is None else high}"

        slots = [(name(*bounds), count) for bounds, count in self.items()]
        return html.bars(f"{self.total} hits", slots, total=len(slots))


class CountCell:
    """One word: how many hits."""

    words = 1

    def add(self, words: Words, at: int, value: int) -> None:
        """One hit."""
        words[at] += 1

    def read(self, words: Words, at: int) -> int:
        """How many."""
        return int(words[at])


class TotalCell:
    """Two words: how many hits, and their sum, least or greatest value."""

    words = 2

    def __init__(self, action: Keyed, kind: Int) -> None:
        self._kind = kind
        self._sums = isinstance(action, Sum)
        self._better = min if isinstance(action, Minimum) else max

    def add(self, words: Words, at: int, value: int) -> None:
        """One hit with ``value``."""
        if self._sums:
            words[at + 1] = words[at + 1] + value & MASK64
        elif words[at]:
            words[at + 1] = self._better(self._kind.read(words[at + 1]), value) & MASK64
        else:
            words[at + 1] = value & MASK64
        words[at] += 1

    def read(self, words: Words, at: int) -> Total:
        """The number and the count."""
        known = words[at] or self._sums
        return Total(self._kind.read(words[at + 1]) if known else None, words[at])


class HistogramCell:
    """A word for each slot."""

    def __init__(self, scale: Log2 | Linear) -> None:
        self._scale = scale
        self.words = scale.slots

    def add(self, words: Words, at: int, value: int) -> None:
        """One hit with ``value``."""
        words[at + self._scale.slot(value)] += 1

    def read(self, words: Words, at: int) -> Buckets:
        """The counts of now."""
        return Buckets(self._scale, words[at : at + self.words])


def cell_of(action: Keyed) -> Cell:
    """What ``action`` keeps."""
    if isinstance(action, Histogram):
        return HistogramCell(action.scale)
    if isinstance(action, (Sum, Minimum, Maximum)):
        kind = action.value.type
        assert isinstance(kind, Int)
        return TotalCell(action, kind)
    assert isinstance(action, Count)
    return CountCell()
