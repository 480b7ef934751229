"""``Call``: a function of Python that a hit calls, in its middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kprobesim.programs.actions import Action
from kprobesim.programs.values import Value, as_value

__all__ = ["Call"]


@dataclass(frozen=True, eq=False)
class Call(Action):
    """Call a function, and go on; a program of snapshots it cannot be.

    Attributes:
        function: It is called without arguments.
        when: A condition; where it is not met, or cannot be computed, nothing is called. ``None``:
            at each hit.
    """

    function: Callable[[], object] = field(metadata={"shape": False})
    when: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.when is not None:
            object.__setattr__(self, "when", as_value(self.when, "a condition"))

    @property
    def values(self) -> Iterator[Value]:
        """Its condition."""
        if self.when is not None:
            yield self.when
