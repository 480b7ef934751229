"""``EngineEntries``: where machine code of ours finds what it wants to know of an engine.

Our functions stand in the place of Unicorn's once a process, for all its engines; each of those has
an entry of words behind the code, by which it is found.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from kprobesim.machine.unicorn.host_code import Placed

__all__ = ["MOST_ENGINES", "EngineEntries"]

MOST_ENGINES = 1024
"""So many engines of a process are served at a time."""


class EngineEntries:
    """The entries behind one piece of code.

    Attributes:
        lock: Held while an entry is taken.
    """

    def __init__(self, placed: Placed, size: int, owner: int, count: int) -> None:
        """All are free.

        Args:
            placed: The code, with room for :data:`MOST_ENGINES` entries behind it.
            size: Bytes of an entry.
            owner: Which of its words says whose it is; 0 there: nobody's.
            count: Which of the code's words says how many entries are to be looked at.
        """
        self.lock = threading.Lock()
        self._placed, self._size = placed, size
        self._owner, self._count = owner, count
        self._free: list[int] = []
        self._made = 0

    def take(self) -> Any | None:
        """The words of an entry of nobody's, all 0; ``None`` if there is none left."""
        with self.lock:
            if self._free:
                number = self._free.pop()
            elif self._made < MOST_ENGINES:
                number = self._made
                self._made += 1
            else:
                return None
            at = self._placed.area + self._size * number
            words = (ctypes.c_uint64 * (self._size // 8)).from_address(at)
            words[:] = [0] * len(words)
            self._placed.words[self._count] = self._made
        return words

    def give_back(self, words: Any) -> None:
        """The engine is no more."""
        words[self._owner] = 0
        self._free.append((ctypes.addressof(words) - self._placed.area) // self._size)
