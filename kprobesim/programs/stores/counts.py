"""``Counts``: one counter for each of many functions, side by side."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kprobesim.extras import needed
from kprobesim.programs.stores.single import Counter
from kprobesim.programs.stores.store import Store
from kprobesim.programs.stores.words import address_of, new_words

__all__ = ["Counts"]


class Counts(Store, Mapping[str, int]):
    """How often each function was hit, live: ``counts["vfs_read"]``, ``counts.total``."""

    def __init__(self, names: Sequence[str]) -> None:
        """One for each of ``names``; equal ones count together."""
        self._places = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self._words = new_words(len(self._places))

    def counter(self, name: str) -> Counter:
        """That of a function."""
        return Counter(self._words, self._places[name])

    def address(self, name: str) -> int:
        """Where compiled code finds it."""
        return address_of(self._words, self._places[name])

    def __getitem__(self, name: str) -> int:
        return int(self._words[self._places[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def total(self) -> int:
        """All hits."""
        return sum(self._words)

    def __int__(self) -> int:
        return self.total

    @property
    def hit(self) -> dict[str, int]:
        """Those that were hit at all, the most often first."""
        found = [(name, count) for name, count in self.items() if count]
        return dict(sorted(found, key=lambda pair: -pair[1]))

    def items(self) -> Any:
        """Pairs of a name and its count."""
        return [*zip(self._places, self._words, strict=True)]

    def values(self) -> Any:
        """The counts in the order of the names."""
        return self._words[:]

    def to_numpy(self) -> Any:
        """The counts as a ``numpy`` array in the order of the names: a live view, no copy.

        Raises:
            UsageError: ``numpy`` is not installed.
        """
        numpy = needed("numpy", "jit")
        return numpy.frombuffer(self._words, dtype=numpy.uint64)

    def clear(self) -> None:
        """Begin again."""
        for number in range(len(self)):
            self._words[number] = 0

    def save(self) -> tuple[int, bytes]:
        return 0, bytes(self._words)

    def load(self, lost: int, data: bytes) -> None:
        if len(data) != 8 * len(self):
            raise ValueError("counts of other functions")
        ctypes.memmove(self._words, data, len(data))

    def _repr_html_(self) -> str:
        """For a notebook: the functions that were hit most."""
        from kprobesim import html

        return html.bars(repr(self)[1:-1], self.hit.items(), total=len(self.hit))

    def __repr__(self) -> str:
        return f"<Counts of {len(self)} functions, {self.total} hits>"
