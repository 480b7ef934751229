"""The timers of all CPUs, one each: their lines, and who is due next."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.arm64.timer import Timer
from kprobesim.boot.board_clock import BoardClock

__all__ = ["Timers"]


class Timers:
    """``each`` are the timers, by the numbers of their CPUs.

    A timer's line goes up only when its time has come, and down only when the guest writes to it.
    So all are looked at when the first of them is due, and one when it is written.
    """

    def __init__(
        self,
        clock: BoardClock,
        cpus: int,
        current: Callable[[], int],
        set_line: Callable[[bool, int], None],
    ) -> None:
        """The timers of ``cpus`` CPUs, all off.

        Args:
            clock: The time.
            cpus: How many there are.
            current: Says which CPU runs.
            set_line: Told of a timer's level, and of its CPU.
        """
        self._clock = clock
        self._current = current
        self._set_line = set_line
        self.each = [Timer(clock, self._changed) for _ in range(cpus)]
        self._due: int | None = None

    @property
    def current(self) -> Timer:
        """That of the CPU that runs."""
        return self.each[self._current()]

    @property
    def next_event(self) -> int | None:
        """When the first will interrupt, in virtual nanoseconds."""
        return self._due

    def advance(self) -> None:
        """Let the lines follow the time."""
        if self._due is not None and self._clock.now() >= self._due:
            self.look()

    def look(self) -> None:
        """Look at all of them: the first is due, or a state was loaded."""
        for cpu, timer in enumerate(self.each):
            self._set_line(timer.asserted, cpu)
        self._find_due()

    def switch_off(self, cpu: int) -> None:
        """CPU number ``cpu`` has no power any more."""
        self.each[cpu].reset()
        self._set_line(False, cpu)
        self._find_due()

    def _changed(self) -> None:
        cpu = self._current()
        self._set_line(self.each[cpu].asserted, cpu)
        event = self.each[cpu].next_event
        if event is not None:
            self._clock.hasten(event)
        self._find_due()

    def _find_due(self) -> None:
        events = [timer.next_event for timer in self.each]
        self._due = min((event for event in events if event is not None), default=None)
