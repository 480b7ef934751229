"""The host's time for a guest that somebody talks to: its seconds are real ones.

Nothing that depends on time is repeatable then. For that there is :mod:`virtual_time`, which even
here counts until the guest waits for the first time. Before that a kernel measures the CPU's clock
by a timer (pit_calibrate_tsc(), calibrate_delay()): where the host gives it no CPU in the middle of
it, the measure would be wrong for good.
"""

from __future__ import annotations

import time

from kprobesim.boot.board_clock import BoardClock
from kprobesim.boot.virtual_time import VirtualTime
from kprobesim.errors import UsageError
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["CLOCKS", "HostTime", "make_clock"]

_BLOCK_NS = 16  # about what the emulator takes for a block; an estimate too low makes timers late
_LEAST = 512  # blocks of one run: a timer may be late by 10 us
_NAP = 0.2  # seconds of one sleep: how soon a time limit is noticed
_SET_ASIDE = 1_000_000_000  # ns between two runs after which nobody was running the guest


class HostTime(VirtualTime):
    """Nanoseconds of the host's monotonic clock since the guest has first waited.

    They pass while the guest runs or idles, and do not between two ``run`` of a board.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._seen = -_SET_ASIDE
        self._has_waited = False

    @property
    def words(self) -> Words | None:
        """There are none: only the host tells the time."""
        return None

    def now(self) -> int:
        """The time in nanoseconds: it stands still while the engine does."""
        if not self._has_waited:
            return super().now()
        if self._running:
            return self._base + time.monotonic_ns() - self._seen
        return self._base

    def read(self) -> int:
        """The time as the guest reads it."""
        return self.now() if self._has_waited else super().read()

    def spend(self, ns: int) -> None:
        """What the guest does takes as long as it takes."""
        if not self._has_waited:
            super().spend(ns)

    def jump(self, when: int) -> None:
        """Sleep until ``when``, or a little, or until :attr:`wait` has heard something."""
        if not self._has_waited:
            self._has_waited, self._seen = True, time.monotonic_ns()
        (self.wait or time.sleep)(max(0.0, min(_NAP, (when - self.now()) / 1e9)))
        self._catch_up()

    def begin(self) -> None:
        """The engine is about to run."""
        if self._has_waited:
            self._catch_up()
        super().begin()

    def end(self) -> None:
        """The engine has stopped."""
        if self._has_waited:
            self._catch_up()
            self._running = False
        else:
            super().end()

    def _catch_up(self) -> None:
        now = time.monotonic_ns()
        elapsed = now - self._seen
        if self._running or elapsed < _SET_ASIDE:
            self._base += elapsed
        self._seen = now

    def limit_until(self, when: int | None, most: int) -> int:
        """How many blocks take about the time until ``when``."""
        if when is None:
            return most
        if not self._has_waited:
            return super().limit_until(when, most)
        return max(_LEAST, min(most, (when - self.now()) // _BLOCK_NS))

    def hasten(self, when: int) -> None:
        """Let the current run end at about ``when`` if it would end later."""
        if not self._has_waited:
            super().hasten(when)
        elif self._running:
            blocks = self._count[0] + self.limit_until(when, self._count[1])
            self._count[1] = min(self._count[1], blocks)


CLOCKS = {"virtual": VirtualTime, "host": HostTime}
"""What a board's clock can follow."""


def make_clock(name: str, engine: Engine) -> BoardClock:
    """The clock of that name; raises :class:`UsageError`."""
    if name not in CLOCKS:
        raise UsageError(f"clock is {' or '.join(CLOCKS)}, not {name!r}")
    return CLOCKS[name](engine)
