"""``Patience``: whether the calls of a booted kernel's CPUs still come further, or wait for ever.

A call of which nothing was seen for half a second of the guest's time, and that sleeps for no time
of its own, waits for ever. Until then the guest's time goes from one timer to the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kprobesim.errors import GuestMemoryError
from kprobesim.inside.lane_calls import LaneCalls
from kprobesim.inside.task_sleep import TaskSleep
from kprobesim.kernel.booted_actors import BootedActors
from kprobesim.races.lanes.run import Lane

__all__ = ["Patience"]

_NS = 500_000_000
_DELAYS = re.compile(r"_*(?:delay(?:_\w+)?|const_udelay|udelay|ndelay|timer_delay)\+")
"""Where a CPU spins until a time has come."""


class Patience:
    """That with the calls of one guest, run by run."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        calls: Sequence[LaneCalls],
        actors: BootedActors,
        sleep: TaskSleep,
        symbolize: Callable[[int], str],
    ) -> None:
        """Nothing has run.

        Args:
            lanes: By CPU.
            calls: By CPU, of those that have calls: who makes them.
            actors: Who acts on the CPUs.
            sleep: Tells of tasks that sleep.
            symbolize: Names an instruction.
        """
        self._lanes, self._calls, self._actors, self._sleep = lanes, calls, actors, sleep
        self._symbolize = symbolize
        self._since: list[tuple[int, int]] = []

    def begin(self, now: int) -> None:
        """A run begins at a time of the guest's, in nanoseconds."""
        self._since = [(now, self._switches(number)) for number in range(len(self._calls))]

    def _switches(self, number: int) -> int:
        try:
            return self._sleep.switches(self._calls[number].task)
        except GuestMemoryError:
            return 0

    def came_further(self, number: int, now: int) -> None:
        """CPU ``number`` did something else than wait."""
        if number < len(self._since):
            self._since[number] = now, self._since[number][1]

    def is_over(self, now: int) -> bool:
        """Whether all calls that are not over wait for ever."""
        for number, (since, switches) in enumerate(self._since):
            if self._lanes[number].at is None:
                continue
            if now - since <= _NS:
                return False
            seen = self._switches(number)
            if seen != switches or self._waits_for_a_time(number):
                self._since[number] = now, seen
                return False
        return True

    def _waits_for_a_time(self, number: int) -> bool:
        actors = self._actors
        regs = actors.registers(number)
        if not actors.is_asleep(number):
            return _DELAYS.match(self._symbolize(regs.ip)) is not None
        return self._sleep.sleeps_for_a_time(regs, self._calls[number].top)
