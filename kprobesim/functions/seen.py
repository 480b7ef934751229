"""``Seen``: what symbols and code tell of a function, from which the rest is concluded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kprobesim.functions.clones import IN_STEAD, split_clone
from kprobesim.functions.facts import Clone
from kprobesim.image import Symbol

__all__ = ["Seen"]


@dataclass(frozen=True)
class Seen:
    """A function by its ``name``.

    Attributes:
        name: As it was asked for.
        symbols: All symbols of that name.
        clones: All clones of it.
        callers: The functions that call it, or jump to it; itself left out.
        calls: How many of their branches are calls.
        jumps: How many are jumps.
        taken: Whether its address stands in data or is taken by code.
        traceable: Whether ftrace can trace it; ``None`` without a symbol.
    """

    name: str
    symbols: tuple[Symbol, ...]
    clones: tuple[Clone, ...]
    callers: tuple[str, ...]
    calls: int
    jumps: int
    taken: bool
    traceable: bool | None

    @cached_property
    def base(self) -> str:
        """Its name in the source."""
        return split_clone(self.name)[0]

    @property
    def bodies(self) -> tuple[Symbol, ...]:
        """The symbols of the code that calls of it run, if they are not inlined."""
        return bodies(self.symbols, self.clones)


def bodies(symbols: tuple[Symbol, ...], clones: tuple[Clone, ...]) -> tuple[Symbol, ...]:
    """Those of ``symbols``, and of the ``clones`` that run in their stead."""
    return (*symbols, *(clone.symbol for clone in clones if clone.kind in IN_STEAD))
