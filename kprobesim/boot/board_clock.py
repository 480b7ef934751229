"""What the clocks of boards have in common: the run loop's side, and somebody who types."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from kprobesim.boot.state import Number, Saved, fields
from kprobesim.machine.clock import HiddenTime
from kprobesim.machine.stopwatch import new_words
from kprobesim.machine.unicorn.clock_reads import ClockReads
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["BoardClock"]


class BoardClock(Saved, ABC):
    """Nanoseconds since power-on, for an engine that counts blocks.

    A :class:`~kprobesim.machine.clock.GuestClock`, and what programs take the time by.

    Attributes:
        wait: Somebody who types: called with how many seconds of the host's time the guest idles,
            at most; 0 while it is busy.
    """

    SAVED = fields(_base=Number(63))

    def __init__(self, engine: Engine) -> None:
        """Start at 0."""
        self._engine = engine
        self._count = engine.counter_words
        self._words = new_words()  # the time at the beginning of the run, and of each count of it
        self._running = False
        self.wait: Callable[[float], object] | None = None

    @property
    def _base(self) -> int:
        return self._words[0]

    @_base.setter
    def _base(self, ns: int) -> None:
        self._words[0] = ns

    @property
    @abstractmethod
    def words(self) -> Words | None:
        """As a :class:`~kprobesim.machine.stopwatch.Stopwatch`, where time is counted in blocks."""

    def native_reads(self, tick_ns: int = 1) -> ClockReads | None:
        """How instructions read it without Python, in ticks; ``None``: they cannot."""
        return None

    @property
    def running(self) -> bool:
        """Whether the engine runs at this moment: a callback asks."""
        return self._running

    @abstractmethod
    def now(self) -> int:
        """The time in nanoseconds; changes nothing."""

    @abstractmethod
    def read(self) -> int:
        """The time in nanoseconds as the guest reads it."""

    @abstractmethod
    def spend(self, ns: int) -> None:
        """What the guest has just done takes so many nanoseconds."""

    @abstractmethod
    def jump(self, when: int) -> None:
        """The guest idles until ``when``, or until it is woken."""

    def hidden(self, engine: Engine) -> HiddenTime:
        """What keeps hits on ``engine`` out of this time."""
        return HiddenTime(engine)

    # -- the run loop's side -----------------------------------------------------------------------

    @abstractmethod
    def begin(self) -> None:
        """The engine is about to run."""

    @abstractmethod
    def end(self) -> None:
        """The engine has stopped."""

    @abstractmethod
    def limit_until(self, when: int | None, most: int) -> int:
        """How many blocks the engine may run so that it stops at ``when``; from 1 to ``most``."""

    @abstractmethod
    def hasten(self, when: int) -> None:
        """Let the current run end at ``when`` if it would end later. For callbacks."""

    def stop_run(self) -> None:
        """Let the current run end at the next block: from any callback, and precisely."""
        last = self._count[0] + self._engine.extra_count[0]
        if self._running and last < self._count[1]:
            self._count[1] = last
