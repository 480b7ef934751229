"""Whether a guest still gets anywhere: what tells a hang from work and from waiting."""

from __future__ import annotations

import math

from kprobesim.boot.state import Number, Saved, Tuple, fields

__all__ = ["LastCalm", "Progress"]

_SECOND = 1_000_000_000
_LOOK_NS = 1_000_000


class LastCalm(Saved):
    """When a CPU was last seen in good order, in ns of the guest's time.

    Attributes:
        interruptible_at: With interrupts on, taking or waiting for one.
        relaxed_at: In a program, or waiting.
        looked_at: When that was looked at, where there are several CPUs.
        seen: What was seen of the guest when interrupts were on, since it has waited.
    """

    SAVED = fields(interruptible_at=Number(63), relaxed_at=Number(63), looked_at=Number(63))

    def __init__(self) -> None:
        self.interruptible_at = self.relaxed_at = 0
        self.seen: tuple[int, int] | None = None
        self.looked_at = 0

    def is_looked_at(self, now: int) -> bool:
        """Whether it is to be looked at again: its turns are short, and not each matters."""
        if 0 <= now - self.looked_at < _LOOK_NS:  # it may have gone back in time
            return False
        self.looked_at = now
        return True

    def idled(self, now: int) -> None:
        """It waited for an interrupt until ``now``; ARM64 idles with interrupts off."""
        self.interruptible_at = self.relaxed_at = now
        self.seen = None


class Progress(Saved):
    """Looked at between two runs of the engine.

    Exceptions (system calls among them) and console output are progress. Without any the guest is
    given up after so many seconds of its time; ``math.inf``: never. Exceptions alone, with
    interrupts off all the time, are none: handlers that fault themselves. As these take the host
    long and the guest no time, they are counted.
    """

    SAVED = fields(
        _seen=Tuple((63, 63)),
        _at=Number(63),
        _interruptible_at=Number(63),
        _relaxed_at=Number(63),
    )

    def __init__(self) -> None:
        self.patience = 600.0
        """For a guest that waits, or computes in user space."""
        self.busy = 12.0
        """For a kernel that neither waits nor lets a program run."""
        self.stuck = 5.0
        """For a kernel that also keeps the CPU's interrupts off."""
        self.storm: float = 500_000
        """So many exceptions with interrupts off and no output are one for ever."""
        self._seen: tuple[int, ...] = (0, 0)
        self._at = 0
        self._who = "the guest"
        self._last = LastCalm()

    def never_give_up(self) -> None:
        """Let the guest do what it wants."""
        self.patience = self.busy = self.stuck = self.storm = math.inf

    def of_cpu(self, number: int, last: LastCalm) -> None:
        """Of several CPUs, look at this one from now on."""
        self._who, self._last = f"CPU {number}", last

    @property
    def _interruptible_at(self) -> int:
        return self._last.interruptible_at

    @_interruptible_at.setter
    def _interruptible_at(self, now: int) -> None:
        self._last.interruptible_at = now

    @property
    def _relaxed_at(self) -> int:
        return self._last.relaxed_at

    @_relaxed_at.setter
    def _relaxed_at(self, now: int) -> None:
        self._last.relaxed_at = now

    def idled(self, now: int) -> None:
        """The CPU waited for an interrupt until ``now`` (ns)."""
        self._last.idled(now)

    def interrupted(self, now: int) -> None:
        """The CPU takes an interrupt: each look may find it in the handler of a tick."""
        self._last.interruptible_at = now

    def look(
        self, now: int, seen: tuple[int, int], *, in_kernel: bool, interrupts: bool
    ) -> str | None:
        """Why the guest is to be given up, if it is.

        ``seen`` counts exceptions and bytes of output; then, whether the CPU is in the kernel and
        takes interrupts.
        """
        if not in_kernel:
            self._relaxed_at = now
        if interrupts:
            self._interruptible_at = now
        if self._faults_for_ever(seen, interrupts):
            return (
                f"{self._who} has taken {self.storm:g} exceptions with interrupts off and no output"
            )
        if seen != self._seen:
            self._seen, self._at = seen, now
            return None
        reasons = (
            (self._at, self.patience, "has made no progress", " (does it wait for input?)"),
            (self._relaxed_at, self.busy, "has been busy in its kernel without progress", ""),
            (self._interruptible_at, self.stuck, "has had interrupts off without progress", ""),
        )
        for since, patience, what, remark in reasons:
            if now - max(since, self._at) > patience * _SECOND:
                self._at = now
                return f"{self._who} {what} for {patience:g} s of its time{remark}"
        return None

    def _faults_for_ever(self, seen: tuple[int, int], interrupts: bool) -> bool:
        calm = self._last.seen
        if calm is None or interrupts or seen[1] != calm[1] or seen[0] < calm[0]:
            self._last.seen = seen
            return False
        return seen[0] - calm[0] > self.storm
