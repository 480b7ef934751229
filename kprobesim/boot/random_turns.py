"""``RandomTurns``: any CPU, for any while."""

from __future__ import annotations

from typing import ClassVar

from kprobesim.boot.policy import TURN, SwitchPoint, Turns, mixed
from kprobesim.late_dataclasses import dataclass

__all__ = ["RandomTurns"]


@dataclass(frozen=True, repr=False)
class RandomTurns(Turns):
    """Any CPU that can run, for 1 to 2 * :attr:`blocks` - 1 blocks.

    What is chosen depends on the seed and the guest's time: so it is the same in each run, and also
    in one that goes on from a snapshot.

    Attributes:
        seed: Another one gives other turns.
        blocks: Of a turn, on average.
        at: See :class:`~kprobesim.boot.policy.Turns`.
        accesses: The same.
    """

    NAME: ClassVar[str] = "random"
    seed: int = 1
    blocks: int = TURN
    at: tuple[str, ...] = ()
    accesses: tuple[str, ...] = ()

    def pick(self, point: SwitchPoint) -> tuple[int, int]:
        """Another one than the last if that waits, else any."""
        runnable = point.runnable
        if point.why == "spin" and len(runnable) > 1:
            runnable = [n for n in runnable if n != point.last]
        chance = mixed(self.seed, point.time, point.last)
        number = runnable[(chance & 0xFFFF) % len(runnable)]
        return number, 1 + (chance >> 16) % (2 * self.blocks - 1)
