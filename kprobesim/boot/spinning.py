"""Turns of CPUs that only spin: long ones where all do, which then wait for nothing but time.

A turn ends where its CPU spins, so that the one that it waits for can run. If that one spins, too -
one delays, and all others wait for it - they would pass the turn around as fast as they can, to no
end. So when each has spun since another one did anything else, the next turn is not ended by a
spin, and each such turn is twice as long as the one before.
"""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.boot.state import Flags, Number, fields
from kprobesim.machine.stopwatch import BLOCK_NS

__all__ = ["Spinning"]

_FIRST = 32  # blocks of the first of such turns
_MOST_SHIFT = 16
_BRIEF_NS = 128 * BLOCK_NS  # in less no CPU has taken an interrupt, and come back to where it spins


class Spinning:
    """Who of some CPUs has spun in its last turn.

    Attributes:
        kinds: What its state is.
    """

    def __init__(self, cpus: int) -> None:
        """Nobody has."""
        self._spun = [False] * cpus
        self._shift = 0
        self.kinds = fields(_spun=Flags(cpus), _shift=Number(5))

    def turn_ended(self, cpu: int, lasted: int, *, spun: bool) -> None:
        """The turn of ``cpu`` is over, which a spin could end, and has taken ``lasted`` ns."""
        self._spun[cpu] = spun
        if not spun or lasted > _BRIEF_NS:
            self._shift = 0

    def patience(self, runnable: Sequence[int]) -> int | None:
        """For how many blocks the next one may spin; ``None``: not at all."""
        spun = self._spun
        if not all(spun[n] for n in runnable):
            return None
        spun[:] = [False] * len(spun)
        blocks = _FIRST << self._shift
        self._shift = min(self._shift + 1, _MOST_SHIFT)
        return blocks
