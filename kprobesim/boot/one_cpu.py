"""``OneCpu``: the schedule of a board of one CPU: only the interrupts that were made to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kprobesim.boot.boot_schedule import BootSchedule, Tick
from kprobesim.boot.run_origin import RunOrigin
from kprobesim.boot.trail import Trail

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["OneCpu"]


class OneCpu:
    """That of one board: nobody chooses, as one CPU always runs."""

    def __init__(self, board: Board) -> None:
        """Nothing has run yet."""
        self._origin, self._trail = RunOrigin(board), Trail(0, "")

    def begin_anew(self) -> None:
        """A state was loaded: schedules begin there."""
        self._trail = Trail(self._origin.begin_anew(), "")

    def note_origin(self) -> None:
        """The guest is about to run."""
        self._origin.note()

    def schedule(self) -> BootSchedule:
        """Which interrupts came since the power was switched on, or a state was loaded."""
        return self._origin.schedule(self._trail)

    def schedule_text(self) -> str:
        """The same as a text; empty where none was made to come: a run is as any other then."""
        return str(self.schedule()) if self._trail.ticks else ""

    def follow(self, schedule: BootSchedule) -> None:
        """The run is to be as another one was; raises :class:`ScheduleError` as that of turns."""
        self._trail = Trail(self._origin.follow(schedule, self._trail.turns), "")
        self._trail.expect(schedule.parts, schedule.marks)

    def ticked(self, tick: Tick) -> None:
        """An interrupt was made to come."""
        self._trail.ticks.append(tick)
        self._trail.turned(tick.time, 0, 1, tick.address)
