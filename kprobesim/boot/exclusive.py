"""``Exclusive``: a few more blocks for a CPU that stands between LDXR and STXR.

Its monitor is cleared when another CPU runs, so that its STXR fails
(:mod:`~kprobesim.machine.unicorn.exclusive_monitor`). Where turns are of a block or two, and a
branch is between both, nobody would come to an STXR that succeeds: a free lock would be tried for
ever.
"""

from __future__ import annotations

from kprobesim.machine.stopwatch import BLOCK_NS
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.exclusive_monitor import CLEAR, monitor_word

__all__ = ["Exclusive"]

_NS = 4 * BLOCK_NS  # so long at most: who waits in WFE has marked what it waits for, too


class Exclusive:
    """Of the CPUs of one engine."""

    def __init__(self, engine: Engine) -> None:
        """Look at its monitor."""
        self._monitor = monitor_word(engine)

    def goes_on(self, overdue: int) -> bool:
        """Whether the CPU that runs, whose turn is over since so many ns, has a little more."""
        return self._monitor.value != CLEAR and overdue < _NS
