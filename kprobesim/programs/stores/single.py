"""``Single``: what an action without a key keeps, and ``Counter``, the commonest of all."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any, Generic, TypeVar

from kprobesim.programs.stores.cells import Cell, CountCell
from kprobesim.programs.stores.store import Store
from kprobesim.programs.stores.words import Words, address_of, new_words

__all__ = ["Counter", "Single"]

_T = TypeVar("_T")


class Single(Store, Generic[_T]):
    """One cell, live: ``store.value`` is what it tells at this moment.

    Attributes:
        address: Where compiled code finds it.
    """

    def __init__(self, cell: Cell, words: Words | None = None, at: int = 0) -> None:
        """Keep a cell at ``words[at]``, or in words of its own."""
        self.cell = cell
        self.words = new_words(cell.words) if words is None else words
        self.at = at
        self.address = address_of(self.words, at)

    @property
    def value(self) -> _T:
        """What it is now."""
        value: _T = self.cell.read(self.words, self.at)
        return value

    def add(self, _key: object, value: int) -> None:
        """One hit; for programs that are not compiled."""
        self.cell.add(self.words, self.at, value)

    def clear(self) -> None:
        """Begin again."""
        for index in range(self.at, self.at + self.cell.words):
            self.words[index] = 0

    def save(self) -> tuple[int, bytes]:
        return 0, ctypes.string_at(self.address, 8 * self.cell.words)

    def load(self, lost: int, data: bytes) -> None:
        if len(data) != 8 * self.cell.words:
            raise ValueError("a store of another size")
        ctypes.memmove(self.address, data, len(data))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value!r}>"

    def __str__(self) -> str:
        return str(self.value)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from kprobesim import html

        shown = getattr(self.value, "_repr_html_", None)
        return html.preformatted(str(self)) if shown is None else str(shown())


class Counter(Single[int]):
    """How often something was hit, live; it is used like an int, and is not one."""

    def __init__(self, words: Words | None = None, at: int = 0) -> None:
        """Count in ``words[at]``, or in a word of its own."""
        super().__init__(CountCell(), words, at)

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return self._compare(operator.eq, other)

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Any) -> bool:
        return self._compare(operator.lt, other)

    def __le__(self, other: Any) -> bool:
        return self._compare(operator.le, other)

    def __gt__(self, other: Any) -> bool:
        return self._compare(operator.gt, other)

    def __ge__(self, other: Any) -> bool:
        return self._compare(operator.ge, other)

    def _compare(self, compare: Callable[[Any, Any], bool], other: object) -> bool:
        """What Python is told of a number; other things are asked themselves."""
        if isinstance(other, Counter):
            return compare(self.value, other.value)
        return compare(self.value, other) if isinstance(other, Real) else NotImplemented

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __bool__(self) -> bool:
        return self.value != 0
