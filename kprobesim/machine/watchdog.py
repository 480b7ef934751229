"""One thread that stops guests whose time is up.

Unicorn's own timeout starts a thread for each run (115 us measured); this one sleeps until the
earliest deadline, so a call that ends in time costs two lock operations.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

__all__ = ["Watchdog"]

_AGAIN = 0.01  # seconds until a guest that did not stop is asked again
_FOREVER = float("inf")


class Watchdog:
    """Calls ``stop`` of each armed guest once its deadline (``time.monotonic``) has passed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._armed: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None
        os.register_at_fork(after_in_child=self.__init__)  # type: ignore[misc]

    def arm(self, key: object, deadline: float, stop: Callable[[], None]) -> None:
        """Call ``stop`` from ``deadline`` on, again and again until :meth:`disarm`."""
        with self._condition:
            self._armed[key] = (deadline, stop)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="kprobesim-watchdog", daemon=True
                )
                self._thread.start()
            elif deadline < self._wakes_at:
                self._condition.notify()

    def disarm(self, key: object) -> None:
        """The run is over; its ``stop`` is not called any more once this returns."""
        with self._condition:
            self._armed.pop(key, None)

    def _watch(self) -> None:
        with self._condition:
            while True:
                now = time.monotonic()
                wakes_at = _FOREVER
                for deadline, stop in self._armed.values():
                    if deadline <= now:
                        stop()
                        deadline = now + _AGAIN
                    wakes_at = min(wakes_at, deadline)
                self._wakes_at = wakes_at
                self._condition.wait(min(wakes_at - now, threading.TIMEOUT_MAX))
