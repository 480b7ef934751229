"""What every clock of a guest can do, whatever makes its time pass.

There are three makers: reading a counter (:mod:`~kprobesim.machine.counter_clock`, for kernels
that are called), blocks of instructions (``boot/virtual_time.py``) and the host's time
(``boot/host_time.py``) for kernels that boot.
"""

from __future__ import annotations

from typing import Protocol

from kprobesim.machine.unicorn.engine import Engine

__all__ = ["GuestClock", "HiddenTime"]


class HiddenTime:
    """Keeps from a clock that a hook's hit leaves a block, and enters it again.

    What is counted must be what is counted without the probe: blocks, which make the time pass, or
    instructions, which a call may be limited to.
    """

    def __init__(self, engine: Engine) -> None:
        """Hide what happens on ``engine``."""
        self._counting = engine.counts
        self._counter = engine.counter_words
        self._extra = engine.extra_count
        self._spins = engine.spin_words
        self._block_end = engine.dispatch.block_end
        self._counted = self._spun = 0
        self._end_of_block: int | None = None

    def begin(self) -> None:
        """The CPU stands at an instruction, and is about to leave its block."""
        self._counted, self._extra[0] = self._counter[0], 0
        self._note_block()

    def _note_block(self) -> None:
        if self._block_end is not None:
            self._end_of_block = self._block_end[0]

    def begin_step(self) -> None:
        """As :meth:`begin`, to step: what is counted more must not end the run in mid-hit."""
        counter = self._counter
        self._counted, self._spun = counter[0], self._spins[1]
        self._extra[0] = 1
        counter[1] += 1
        self._note_block()

    def step_again(self) -> None:
        """The instruction repeats itself, and has another turn."""
        self._extra[0] += 1
        self._counter[1] += 1

    def end_step(self) -> None:
        """It is behind the instruction: the time is that of :meth:`begin`, and not less.

        The run ends where it would have ended.
        """
        counter, extra, spins = self._counter, self._extra, self._spins
        counter[0] = self._counted
        counter[1] -= extra[0]
        if spins[1] != self._spun:
            spins[1] -= extra[0]
        extra[0] = 0

    def end_where_it_is(self) -> bool:
        """The instruction is done, in its own block; whether the run is over in front of the next.

        The run ends where it would have ended, but not before what was counted when it began.
        """
        counter, extra = self._counter, self._extra
        counter[1] = limit = max(counter[1] - extra[0], self._counted)
        extra[0] = 0
        return counter[0] > limit

    def end_by_fault(self) -> None:
        """The step has faulted: the block was counted once more for each turn."""
        counter, extra = self._counter, self._extra
        counter[0] -= extra[0]
        counter[1] -= extra[0]
        extra[0] = 0

    def once_more(self) -> None:
        """The block will be left, and begins anew with the instruction."""
        self._counter[0] -= 1

    def end(self, at: int, *, ends_block: bool = False) -> None:
        """The instruction is done: its block will be entered, and counted, once more.

        But not if it would have ended here anyway.

        Args:
            at: The address of the instruction behind.
            ends_block: Whether it would, as far as the instruction tells; for engines that do not.
        """
        if self._end_of_block is not None:
            ends_block = self._end_of_block == at
        self._counter[0] = self._counted - (self._counting.in_blocks and not ends_block)


class GuestClock(Protocol):
    """The time of a guest, in nanoseconds since it was switched on or loaded."""

    def now(self) -> int:
        """The time in nanoseconds; changes nothing."""

    def read(self) -> int:
        """The time in nanoseconds as the guest reads it, which may take a while."""

    def spend(self, ns: int) -> None:
        """What the guest has just done takes so many nanoseconds."""

    def hasten(self, when: int) -> None:
        """Let the current run end at ``when`` if it would end later."""

    def hidden(self, engine: Engine) -> HiddenTime:
        """What keeps hits on ``engine`` out of this time."""
