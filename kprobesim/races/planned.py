"""``call()``: a call that is to be made on some CPU, later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.image import Symbol

__all__ = ["PlannedCall", "Program", "as_program", "call"]


@dataclass(frozen=True)
class PlannedCall:
    """A function and its arguments.

    Attributes:
        function: Its name, address or symbol.
        arguments: As for :meth:`Kernel.call`.
    """

    function: int | str | Symbol
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        name = self.function if isinstance(self.function, str) else str(self.function)
        return f"{name}({', '.join(map(repr, self.arguments))})"


Program = PlannedCall | Sequence[PlannedCall]
"""What one CPU does: a call, or several, one after the other."""


def call(function: int | str | Symbol, *arguments: Any) -> PlannedCall:
    """A call for :meth:`Kernel.race`: ``k.race(a=call("f", 1), b=call("g", "text"))``."""
    return PlannedCall(function, arguments)


def as_program(given: object, name: str) -> tuple[PlannedCall, ...]:
    """The calls of one CPU; raises :class:`UsageError`."""
    calls = (given,) if isinstance(given, PlannedCall) else given
    if not isinstance(calls, (list, tuple)) or not calls:
        raise UsageError(f"{name}={given!r} is no call: write {name}=call('function', arguments)")
    for each in calls:
        if not isinstance(each, PlannedCall):
            raise UsageError(f"{name} has {each!r}, which is no call: write call('function', ...)")
    return tuple(calls)
