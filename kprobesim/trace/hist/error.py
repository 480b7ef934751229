"""``HistError``: what a kernel answers to a hist trigger that it refuses."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError
from kprobesim.trace.hist.texts import TEXTS

__all__ = ["HistError", "LogEntry"]

_MARGIN = " " * 11  # "  Command: "


class LogEntry:
    """One entry of ``error_log``.

    Attributes:
        id: The kernel's name of the error.
        part: The part of the trigger that the caret points to.
    """

    def __init__(self, identifier: str, part: str) -> None:
        self.id = identifier
        self.part = part

    def text(self, event: str, trigger: str) -> str:
        """The entry but for its time stamp.

        Args:
            event: The event, as ``GROUP:NAME``.
            trigger: What was written behind ``hist:``.
        """
        command = f"hist:{trigger}"
        column = max(command.find(self.part), 0) if self.part else 0
        caret = " " * column + "^"
        head = f"hist:{event}: error: {TEXTS[self.id]}"
        return f"{head}\n  Command: {command}\n{_MARGIN}{caret}\n"


class HistError(KprobesimError, OSError):
    """A hist trigger that the kernel refuses; an ``OSError`` with its errno.

    Attributes:
        errno: What the write fails with, positive.
        logged: What ``error_log`` gets, mostly one entry.
    """

    def __init__(self, errno: int, *logged: LogEntry, text: str = "") -> None:
        self.logged = logged
        super().__init__(errno, text or (TEXTS[logged[-1].id] if logged else os.strerror(errno)))
