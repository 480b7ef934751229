"""``Points``: where in a run a switch can matter, thousands of places, each a plain number.

Pairs would be objects that the search for garbage walks through after each run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import rshift
from typing import overload

__all__ = ["Points"]

_SHIFT = 40
_STEP = (1 << _SHIFT) - 1


class Points(Sequence[tuple[int, int]]):
    """Pairs of a CPU and its instructions before, each once, in order."""

    __slots__ = ("_codes",)

    def __init__(self, codes: Iterable[int] = ()) -> None:
        """Be those with these :attr:`codes`."""
        self._codes = [*dict.fromkeys(codes)]

    @staticmethod
    def code(cpu: int, step: int) -> int:
        """The number of one; those of a CPU differ as their instructions do."""
        return (cpu << _SHIFT) + step

    @property
    def codes(self) -> Sequence[int]:
        """All as numbers."""
        return self._codes

    def counts(self) -> Counter[int]:
        """How many each CPU has."""
        return Counter(map(rshift, self._codes, repeat(_SHIFT)))

    def with_(self, pairs: Iterable[tuple[int, int]]) -> Points:
        """These, and then others."""
        return Points([*self._codes, *(self.code(*pair) for pair in pairs)])

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((code >> _SHIFT, code & _STEP) for code in self._codes)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, int]]: ...

    def __getitem__(self, index: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(index, slice):
            return [*self][index]
        code = self._codes[index]
        return code >> _SHIFT, code & _STEP

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Points) and self._codes == other._codes

    def __hash__(self) -> int:
        return hash(tuple(self._codes))
