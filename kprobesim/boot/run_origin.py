"""``RunOrigin``: what a board's run is of, and where it has begun: schedules are checked by it."""

from __future__ import annotations

import zlib
from functools import cached_property
from typing import TYPE_CHECKING

from kprobesim.boot.boot_schedule import BootSchedule
from kprobesim.boot.trail import Trail
from kprobesim.errors import ScheduleError

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["RunOrigin"]

_NS = 1e9


class RunOrigin:
    """That of one board."""

    def __init__(self, board: Board) -> None:
        """The power is off."""
        self._board = board
        self._check: int | None = None  # of the state that the run has begun at
        self._began: int | None = None  # the guest's time there; None: power-on

    def begin_anew(self) -> int:
        """A state was loaded: the run begins there; its time, in nanoseconds."""
        now = self._began = self._board.clock.now()
        self._check = self._state_check()
        return now

    def note(self) -> None:
        """The guest is about to run: if for the first time, what it is then is kept."""
        if self._check is None:
            self._check = self._state_check()

    def _state_check(self) -> int:
        """A checksum of where the run begins."""
        if self._began is None:
            return self._board.initrd_check
        machine = self._board.machine
        places = [vcpu.saved_regs().ip for vcpu in machine.vcpus]
        return zlib.crc32(repr((self._began, machine.vcpu.number, places)).encode())

    @cached_property
    def _what(self) -> int:
        board = self._board
        image = board.image
        kernel = image.build_id, image.version, image.arch
        return zlib.crc32(repr((kernel, board.append, len(board.ram), board.cpus)).encode())

    def schedule(self, trail: Trail) -> BootSchedule:
        """What has run since, as ``trail`` says."""
        self.note()
        assert self._check is not None
        return BootSchedule(
            self._what,
            self._board.cpus,
            self._began,
            self._check,
            trail.all_parts(),
            tuple(trail.ticks),
            trail.marks(),
        )

    def follow(self, schedule: BootSchedule, turns: int) -> int:
        """The run is to be that of ``schedule``; the guest's time where it begins.

        Args:
            schedule: It.
            turns: How many there were since the run began.

        Raises:
            ScheduleError: It is of another kernel, or of another board, or begins elsewhere.
        """
        if (schedule.what, schedule.cpus) != (self._what, self._board.cpus):
            raise ScheduleError(
                "the schedule is of another boot: of another kernel, command line, amount of "
                "memory or number of CPUs"
            )
        start = "power-on" if schedule.began is None else f"the state at {schedule.began / _NS} s"
        now = self._board.clock.now()
        if turns or now != (schedule.began or 0):
            raise ScheduleError(
                f"the schedule begins at {start}, and this guest stands at {now / _NS} s: boot it "
                "anew, or go back to that state"
            )
        self._began = schedule.began
        self._check = self._state_check()
        if self._check != schedule.origin:
            raise ScheduleError(
                f"the schedule begins at {start}, of another guest: its initrd, or what it has "
                "done, is not the same"
            )
        return now
