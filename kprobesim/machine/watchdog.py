"""One thread that looks after handlers which outstay the time of their call.

A guest's own code needs nobody: it runs in slices of blocks, and between two of them its time is
looked at. Nor is the emulator ever stopped from outside: such a stop skips the hooks in the rest of
a block, and does a load or a store twice.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from queue import Empty, SimpleQueue
from typing import Any

__all__ = ["Watchdog", "watchdog"]

_PERIOD = 0.05  # seconds between two looks


class Watchdog:
    """Calls ``look(time.monotonic())`` of everything it looks after while that has an ``owner``."""

    def __init__(self) -> None:
        self.asleep = True
        """Whether :meth:`wake` must be called when a turn is taken."""
        self.threads = 0
        """How many there are: 1, or 0."""
        self._turns: weakref.WeakSet[Any] = weakref.WeakSet()
        self._calls: SimpleQueue[None] = SimpleQueue()  # may be put to by a signal's handler
        self._thread: threading.Thread | None = None

    def look_after(self, turn: Any) -> None:
        """From now on, as long as ``turn`` lives."""
        self._turns.add(turn)

    def wake(self) -> None:
        """A turn was taken."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._watch, name="kprobesim-watchdog", daemon=True
            )
            self._thread.start()
            self.threads = 1
        self._calls.put(None)

    def forked(self) -> None:
        """This is a child process: the thread is the parent's."""
        self.asleep, self._thread, self._calls = True, None, SimpleQueue()
        self.threads = 0

    def _watch(self) -> None:
        while True:
            if not self._is_anybody_busy():
                self.asleep = True
                if not self._is_anybody_busy():  # who came before that line has not called
                    self._calls.get()
            self.asleep = False
            try:
                self._calls.get(timeout=_PERIOD)
            except Empty:
                now = time.monotonic()
                for turn in list(self._turns):
                    if turn.owner:
                        turn.look(now)

    def _is_anybody_busy(self) -> bool:
        return any(turn.owner for turn in list(self._turns))


watchdog = Watchdog()
"""The process's."""
os.register_at_fork(after_in_child=watchdog.forked)
