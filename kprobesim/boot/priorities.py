"""``Priorities``: the most important CPU that can run, until others become more important.

As in probabilistic concurrency testing: Burckhardt and others, "A Randomized Scheduler with
Probabilistic Guarantees of Finding Bugs" (ASPLOS 2010).
"""

from __future__ import annotations

from typing import ClassVar

from kprobesim.boot.policy import TURN, SwitchPoint, Turns, mixed
from kprobesim.late_dataclasses import dataclass

__all__ = ["Priorities"]

_FAIR = 16  # one turn of so many goes to the next CPU, so that none starves
_US = 1000


@dataclass(frozen=True, repr=False)
class Priorities(Turns):
    """The CPU of the highest priority runs; priorities are drawn anew now and then.

    A CPU that spins hands over to the next one, and some turns go to each in order: a kernel that
    lets one CPU wait for ever tells of a stall, rightly.

    Attributes:
        seed: Another one gives other priorities.
        every: So many microseconds of the guest's time priorities hold, on average.
        blocks: Of one turn.
        at: See :class:`~kprobesim.boot.policy.Turns`.
        accesses: The same.
    """

    NAME: ClassVar[str] = "priorities"
    seed: int = 1
    every: int = 1000
    blocks: int = TURN
    at: tuple[str, ...] = ()
    accesses: tuple[str, ...] = ()

    def pick(self, point: SwitchPoint) -> tuple[int, int]:
        """The most important one, but not one that spins."""
        last, runnable = point.last, point.runnable
        if mixed(self.seed, point.time, last) % _FAIR == 0:
            return next((n for n in runnable if n > last), runnable[0]), self.blocks
        if point.why == "spin" and len(runnable) > 1:
            runnable = [n for n in runnable if n != last]
        age = point.time // (self.every * _US)
        # each CPU's priority changes at a moment of its own within the period
        ages = {n: age + (point.time % (self.every * _US) > self._moment(age, n)) for n in runnable}
        return max(runnable, key=lambda n: mixed(self.seed, n, ages[n])), self.blocks

    def _moment(self, age: int, number: int) -> int:
        return mixed(self.seed, age, ~number) % (self.every * _US)
