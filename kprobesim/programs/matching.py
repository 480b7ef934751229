"""What is asked of a text: whether it is like a pattern, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.programs.patterns import Pattern
from kprobesim.programs.types import BOOL, U64, Int, Str
from kprobesim.programs.values import Text, TextConst, Value, operation

__all__ = ["Length", "Matches", "matches"]


@dataclass(frozen=True, eq=False, repr=False)
class Matches(Value):
    """Whether all of ``text`` is like ``pattern``; a text that cannot be read is an empty one."""

    text: Value
    pattern: Pattern

    @property
    def type(self) -> Int:
        """A truth."""
        return BOOL

    def __str__(self) -> str:
        return f"matches({self.text}, {self.pattern.atoms})"


@dataclass(frozen=True, eq=False, repr=False)
class Length(Value):
    """Bytes of a text; of one that cannot be read 0."""

    text: Text

    @property
    def type(self) -> Int:
        """A number."""
        return U64

    def __str__(self) -> str:
        return f"length({self.text})"


def matches(text: Value, pattern: Pattern) -> Value:
    """Whether ``text`` is like ``pattern``.

    Raises:
        UsageError: It is a number.
    """
    if not isinstance(text.type, Str):
        raise UsageError(f"{text} is a number, and patterns are for texts")
    if isinstance(text, TextConst):
        return operation("==", int(pattern.matches(text.data)), 1)
    return Matches(text, pattern)
