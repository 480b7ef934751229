"""Values that depend on another one: one of two, or a number where there is a fault."""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.programs.types import S64, U64, Int
from kprobesim.programs.values import Value, as_value

__all__ = ["OrElse", "Select", "or_else", "select"]


@dataclass(frozen=True, eq=False, repr=False)
class Select(Value):
    """``yes`` where a condition holds, else ``no``; only that one is computed."""

    condition: Value
    yes: Value
    no: Value
    kind: Int

    @property
    def type(self) -> Int:
        """The type of both."""
        return self.kind

    def __str__(self) -> str:
        return f"select({self.condition}, {self.yes}, {self.no})"


@dataclass(frozen=True, eq=False, repr=False)
class OrElse(Value):
    """A value, and a number in the place of a fault."""

    value: Value
    number: int
    kind: Int

    @property
    def type(self) -> Int:
        """The type of both."""
        return self.kind

    def __str__(self) -> str:
        return f"or_else({self.value}, {self.number})"


def select(condition: object, yes: object, no: object) -> Select:
    """``yes`` where ``condition`` is not 0, else ``no``.

    Raises:
        UsageError: One of them is a string.
    """
    decides, one, other = as_value(condition), as_value(yes), as_value(no)
    kinds = [kind for kind in (decides.type, one.type, other.type) if isinstance(kind, Int)]
    if len(kinds) < 3:
        raise UsageError("select() chooses between numbers, and one of its values is a string")
    _, first, second = kinds
    same = first if first == second else S64 if first.signed or second.signed else U64
    return Select(decides, one, other, same)


def or_else(value: Value, number: int) -> OrElse:
    """``value``, and ``number`` where that is a fault.

    Raises:
        UsageError: It is a string.
    """
    kind = value.type
    if not isinstance(kind, Int):
        raise UsageError(f"{value} is a string: there is no number in its place")
    return OrElse(value, number, kind)
