"""Virtual time: how long the guest believes it has been running, by what it did.

Time passes with each block of instructions that is executed and with each reading of a counter; an
idle guest goes straight to its next timer event. No clock of the host has a part in it, so two runs
see the same times.
"""

from __future__ import annotations

from kprobesim.boot.board_clock import BoardClock
from kprobesim.machine.stopwatch import BLOCK_NS
from kprobesim.machine.unicorn.clock_reads import ClockReads, clock_reads
from kprobesim.machine.unicorn.struct_layout import Words

__all__ = ["VirtualTime"]

READ_NS = 256  # reading a counter; loops that wait for it come to their end in few turns
_READ_BLOCKS = READ_NS // BLOCK_NS
_NAP = 0.05  # seconds that an idle guest waits for somebody who may type, instead of all its time


class VirtualTime(BoardClock):
    """Nanoseconds of what the guest does and waits for."""

    @property
    def words(self) -> Words | None:
        """Where compiled code has the time from."""
        return self._words

    def now(self) -> int:
        """The time in nanoseconds; changes nothing."""
        base: int = self._words[0]  # not by a property: a turn of a block asks five times
        return base + self._count[0] * BLOCK_NS if self._running else base

    def read(self) -> int:
        """The time as the guest reads it, which takes a while."""
        self._base = now = self._base + READ_NS
        if self._running:  # as spend() does it; a boot reads some ten thousand times
            count = self._count
            done, left = count[0], count[1] - _READ_BLOCKS
            count[1] = left if left > done else done
            now += done * BLOCK_NS
        return now

    def native_reads(self, tick_ns: int = 1) -> ClockReads | None:
        """How instructions do what :meth:`read` does, without Python."""
        if self.words is None:
            return None
        where = self._engine.words, self._count, self.words
        return clock_reads(*where, read_ns=READ_NS, block_ns=BLOCK_NS, tick_ns=tick_ns)

    def spend(self, ns: int) -> None:
        """What the guest has just done takes so many nanoseconds.

        The limit of the current run comes closer by that much: it stands for a time, at which the
        guest must stop wherever its last run has begun.
        """
        self._base += ns
        if self._running:
            count = self._count
            count[1] = max(count[0], count[1] - ns // BLOCK_NS)

    def jump(self, when: int) -> None:
        """The guest idles until ``when``: it is that now, if it was earlier."""
        gap = max(0, when - self.now())
        if self.wait is not None:
            self.wait(min(_NAP, gap / 1e9))
        self._base += gap

    # -- the run loop's side -----------------------------------------------------------------------

    def begin(self) -> None:
        """The engine is about to run."""
        self._running = True
        self._words[1] = BLOCK_NS

    def end(self) -> None:
        """The engine has stopped: keep what its counter says, which the next run resets."""
        words, count = self._words, self._count
        done, limit = count[0], count[1]
        words[0] += (done if done < limit else limit) * BLOCK_NS
        self._running = False
        words[1] = 0

    def limit_until(self, when: int | None, most: int) -> int:
        """How many blocks the engine may run so that it stops at ``when``; from 1 to ``most``."""
        if when is None:
            return most
        return max(1, min(most, -((self.now() - when) // BLOCK_NS)))

    def hasten(self, when: int) -> None:
        """Let the current run end at ``when`` if it would end later. For callbacks."""
        if self._running:
            blocks = self._count[0] + max(0, -((self.now() - when) // BLOCK_NS))
            if blocks < self._count[1]:
                self._count[1] = blocks
