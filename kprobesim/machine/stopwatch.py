"""What programs take the time by: two words, and the engine's counter.

The time in nanoseconds is ``words[0] + counted * words[1]``, for Python as for compiled code. In a
booted guest that is its clock (``boot/board_clock.py``). A called guest's own counter advances when
it is read only, so there the blocks that were run make the time, at the same rate.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.struct_layout import Words
from kprobesim.sizes import MASK64

__all__ = ["BLOCK_NS", "INSTRUCTION_NS", "RunTime", "Stopwatch", "new_words"]

BLOCK_NS = 8
"""A block has nine instructions on average: a CPU at 1 GHz."""
INSTRUCTION_NS = 1
"""One where instructions are counted, for a call that may take so many."""


def new_words() -> Words:
    """Two words: nanoseconds, and how many more each count of the engine is."""
    return (ctypes.c_uint64 * 2)()


class Stopwatch(Protocol):
    """Tells nanoseconds, from some beginning on."""

    @property
    def words(self) -> Words | None:
        """Where compiled code has it from; ``None``: it cannot."""

    def now(self) -> int:
        """The time in nanoseconds; changes nothing."""


class RunTime:
    """A :class:`Stopwatch` of one engine: how long it has run, by what it has counted."""

    def __init__(self, engine: Engine) -> None:
        """Begin at 0; ``engine`` tells of its runs from now on."""
        self.words = new_words()
        self._counter = engine.counter_words
        self._counts = engine.counts
        self.begin()
        self.set(0)
        engine.run_time = self

    def _counted(self) -> int:
        return int(min(self._counter)) * self.words[1]

    def now(self) -> int:
        """The time in nanoseconds."""
        return self.words[0] + self._counted() & MASK64

    def set(self, now: int) -> None:
        """It is ``now``, whatever the counter says."""
        self.words[0] = now - self._counted() & MASK64

    def begin(self) -> None:
        """A run begins, which counts from 0 on."""
        words = self.words
        words[0] = self.now()
        words[1] = BLOCK_NS if self._counts.in_blocks else INSTRUCTION_NS
