"""``RoundRobin``: each CPU has its turn."""

from __future__ import annotations

from typing import ClassVar

from kprobesim.boot.policy import TURN, SwitchPoint, Turns
from kprobesim.late_dataclasses import dataclass

__all__ = ["RoundRobin"]


@dataclass(frozen=True, repr=False)
class RoundRobin(Turns):
    """Each CPU in the order of their numbers.

    Attributes:
        blocks: Of one turn.
        at: See :class:`~kprobesim.boot.policy.Turns`.
        accesses: The same.
    """

    NAME: ClassVar[str] = "round-robin"
    blocks: int = TURN
    at: tuple[str, ...] = ()
    accesses: tuple[str, ...] = ()

    def pick(self, point: SwitchPoint) -> tuple[int, int]:
        """The next one behind the last, and :attr:`blocks`."""
        last, runnable = point.last, point.runnable
        return next((n for n in runnable if n > last), runnable[0]), self.blocks
