"""``Matches``: whether a text is like a pattern."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.programs.patterns import Pattern
from kprobesim.programs.types import BOOL, Int, Str
from kprobesim.programs.values import TextConst, Value, operation

__all__ = ["Matches", "matches"]


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
