"""``ByPython``: what a function of Python makes of other values, at a hit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kprobesim.programs.types import Type
from kprobesim.programs.values import Value

__all__ = ["ByPython"]


@dataclass(frozen=True, eq=False, repr=False)
class ByPython(Value):
    """What ``function`` makes of ``values``; a program that has one is not compiled.

    Attributes:
        values: What it is given, faults as ``FAULT``.
        function: Gives an integer of the type ``kind``, or bytes of a text.
        kind: What it gives.
    """

    values: tuple[Value, ...]
    function: Callable[..., Any]
    kind: Type

    @property
    def type(self) -> Type:
        """Its kind."""
        return self.kind

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal for equal values."""
        shapes = tuple(value.shape for value in self.values)
        return type(self).__name__, shapes, self.function, self.kind

    @property
    def children(self) -> Iterator[Value]:
        """The values that it is made of."""
        return iter(self.values)

    def __str__(self) -> str:
        return f"what Python makes of {', '.join(map(str, self.values))}"
