"""``Trail``: what a run's turns were so far, and whether they are those of a recorded run."""

from __future__ import annotations

from kprobesim.boot.boot_schedule import MOST_CHOICES, Part, Tick
from kprobesim.errors import ScheduleError
from kprobesim.sizes import MASK64

__all__ = ["Trail"]

_MOST_MARKS = 16
_FACTOR = 0x0000_0100_0000_01B3  # of FNV-1a
_NS = 1e9


class Trail:
    """The turns since a run began.

    Attributes:
        parts: The policies that chose; of the last one more may come.
        ticks: Interrupts that were made to come.
        turns: How many turns there were.
    """

    def __init__(self, since: int, policy: str) -> None:
        """Nothing has run yet.

        Args:
            since: The guest's time, in nanoseconds.
            policy: The text of who chooses; empty if it has none.
        """
        self.parts = [Part(since, policy)]
        self.ticks: list[Tick] = []
        self.turns = 0
        self._check, self._stride = 0, 1
        self._marks: list[tuple[int, int]] = []
        self._choices: list[tuple[int, int]] = []
        self._expected: dict[int, int] = {}
        self._right, self._follows = 0, False

    def policy_changed(self, now: int, policy: str) -> None:
        """From ``now`` on another one chooses."""
        self._close()
        if self.parts[-1].since == now and not self.parts[-1].choices:
            self.parts.pop()
        self.parts.append(Part(now, policy))
        self._follows = False

    def _close(self) -> None:
        last = self.parts[-1]
        if self._choices:
            self.parts[-1] = Part(last.since, last.policy, (*last.choices, *self._choices))
            self._choices.clear()

    def expect(self, parts: tuple[Part, ...], marks: tuple[tuple[int, int], ...]) -> None:
        """The turns that come are to be recorded ones, of which these are known."""
        self.parts, self._follows = [*parts], True
        self._expected = dict(marks)

    def turned(self, now: int, cpu: int, blocks: int, pc: int) -> None:
        """A turn begins.

        Args:
            now: The guest's time, in nanoseconds.
            cpu: Whose.
            blocks: At most so many.
            pc: Where the CPU stood that ran before.

        Raises:
            ScheduleError: It is not the recorded one.
        """
        self.turns += 1
        self._check = ((self._check ^ now ^ pc << 3 ^ cpu) * _FACTOR) & MASK64
        if not (self._follows or self.parts[-1].policy) and len(self._choices) < MOST_CHOICES:
            self._choices.append((cpu, blocks))
        if self._expected:
            self._compare(now)
        if self.turns % self._stride == 0:
            self._marks.append((self.turns, self._short))
            if len(self._marks) > _MOST_MARKS:
                del self._marks[::2]
                self._stride *= 2

    @property
    def _short(self) -> int:
        return self._check >> 48

    def _compare(self, now: int) -> None:
        wanted = self._expected.pop(self.turns, None)
        if wanted is None:
            return
        if wanted != self._short:
            raise ScheduleError(
                f"the run leaves the schedule between turn {self._right + 1} and turn {self.turns}"
                f", before {now / _NS:.6f} s of the guest's time: something else was done to the "
                "guest than when it was recorded, or the schedule is of another run"
            )
        self._right = self.turns

    def all_parts(self) -> tuple[Part, ...]:
        """The policies, with all their choices."""
        self._close()
        return tuple(self.parts)

    def marks(self) -> tuple[tuple[int, int], ...]:
        """Some of them, the last turn among them."""
        last = (self.turns, self._short)
        kept = [mark for mark in self._marks if mark != last]
        return (*kept, last) if self.turns else ()
