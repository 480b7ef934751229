"""The timer of a local APIC (Intel SDM volume 3, 11.5.4): one-shot, periodic, or by a TSC deadline.

Nothing runs: what it holds is computed from the virtual time at which it is asked for.
"""

from __future__ import annotations

from kprobesim.boot.state import Maybe, Number, Saved, fields

__all__ = ["ONE_SHOT", "PERIODIC", "TSC_DEADLINE", "ApicTimer"]

ONE_SHOT, PERIODIC, TSC_DEADLINE = 0, 1, 2
"""Its modes, as in bits 17 and 18 of its entry in the local vector table."""

_BUS_NS = 10  # of a tick before it is divided: 100 MHz
_NEVER = 1 << 62  # ns: a deadline in a hundred years is none


class ApicTimer(Saved):
    """Counts down from what is written, and interrupts when it comes to 0.

    Attributes:
        mode: One of the three.
        due: When it interrupts next, in nanoseconds; ``None``: it does not.
    """

    SAVED = fields(
        mode=Number(2),
        initial=Number(32),
        divide=Number(4),
        deadline=Number(64),
        due=Maybe(Number(63)),
    )

    def __init__(self) -> None:
        """It stands still."""
        self.reset()

    def reset(self) -> None:
        """As after INIT."""
        self.mode = ONE_SHOT
        self.initial = self.divide = self.deadline = 0
        self.due: int | None = None

    @property
    def tick(self) -> int:
        """How long a count takes, in nanoseconds."""
        shift = (self.divide & 3 | self.divide >> 1 & 4) + 1 & 7
        return _BUS_NS << shift

    def set_mode(self, mode: int) -> None:
        """To and from TSC deadlines disarms it."""
        if mode != self.mode and TSC_DEADLINE in (mode, self.mode):
            self.initial = self.deadline = 0
            self.due = None
        self.mode = mode

    def start(self, count: int, now: int) -> None:
        """The initial count is written, which TSC deadlines ignore; 0 stops it."""
        if self.mode == TSC_DEADLINE:
            return
        self.initial = count
        self.due = now + count * self.tick if count else None

    def set_divide(self, divide: int, now: int) -> None:
        """What is left to be counted is counted at the new speed."""
        left = self.count(now)
        self.divide = divide & 0xB
        if self.due is not None and self.mode != TSC_DEADLINE:
            self.due = now + left * self.tick

    def set_deadline(self, tsc: int) -> None:
        """IA32_TSC_DEADLINE is written; the TSC counts nanoseconds. 0 disarms it."""
        if self.mode == TSC_DEADLINE:
            self.deadline = tsc
            self.due = tsc if 0 < tsc < _NEVER else None

    def count(self, now: int) -> int:
        """The current count."""
        if self.due is None or self.mode == TSC_DEADLINE:
            return 0
        return max(0, self.due - now + self.tick - 1) // self.tick

    def advance(self, now: int) -> bool:
        """Whether it has come to 0 since it was last asked; several times count as one."""
        due = self.due
        if due is None or now < due:
            return False
        self.due = None
        self.deadline = 0
        if self.mode == PERIODIC:
            period = self.initial * self.tick
            self.due = due + (1 + (now - due) // period) * period
        return True
