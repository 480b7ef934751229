"""``ErrorLog``: what tracefs's ``error_log`` shows, the last eight refusals (trace.c, 5.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kprobesim.dynevent.error import ProbeEventError

__all__ = ["ErrorLog"]

_MOST = 8  # TRACING_LOG_ERRS_MAX


class ErrorLog:
    """The log of one kernel, whose time ``clock`` gives in nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._entries: deque[tuple[int, str]] = deque(maxlen=_MOST)

    def add(self, error: ProbeEventError) -> None:
        """Keep what the kernel says to a refusal, if it says anything."""
        if error.entry:
            self.write(error.entry)

    def write(self, entry: str) -> None:
        """Keep an ``entry``, which is all that stands behind its time stamp."""
        self._entries.append((self._clock(), entry))

    def clear(self) -> None:
        """Forget all, as a write to the file does."""
        self._entries.clear()

    def read(self) -> str:
        """The file's text."""
        found = []
        for time, entry in self._entries:
            seconds, rest = divmod(time, 1_000_000_000)
            found.append(f"[{seconds:5}.{rest // 1000:06}] {entry}")
        return "".join(found)
