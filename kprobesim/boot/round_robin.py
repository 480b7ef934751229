"""The policies that choose which CPU runs next; the plain one lets each have its turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["TURN", "Policy", "RoundRobin"]

TURN = 20_000
"""Blocks of one turn by default: 160 us of the guest's time.

A switch between two programs costs as much as 8,000 blocks: addresses are translated anew.
"""


class Policy(Protocol):
    """Chooses among CPUs that can run."""

    @property
    def blocks(self) -> int:
        """How long the CPU that runs goes on when another one wakes beside it, in blocks."""

    def pick(self, last: int, runnable: Sequence[int]) -> tuple[int, int]:
        """The CPU that runs next, and for how many blocks at most.

        Args:
            last: The one that ran.
            runnable: Those that can, in ascending order: never empty.

        Returns:
            The CPU's number and the blocks of its turn, at least one.
        """


@dataclass(frozen=True, repr=False)
class RoundRobin(HexRepr):
    """Each CPU in the order of their numbers.

    Attributes:
        blocks: Of one turn.
    """

    blocks: int = TURN

    def pick(self, last: int, runnable: Sequence[int]) -> tuple[int, int]:
        """The next one behind ``last``, and :attr:`blocks`."""
        return next((n for n in runnable if n > last), runnable[0]), self.blocks
