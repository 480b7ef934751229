"""``ProbeEventError``: what a kernel says to a definition that it refuses."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError

__all__ = ["ProbeEventError"]

_MARGIN = " " * 11  # "  Command: "


class ProbeEventError(KprobesimError, OSError):
    """A write into ``kprobe_events`` that the kernel refuses; it is an ``OSError`` with its errno.

    Attributes:
        errno: What the write fails with, positive.
        id: The kernel's name of the error, such as ``BAD_MAXACT_TYPE``
            (kernel/trace/trace_probe.h); empty if ``error_log`` stays as it is.
        text: What ``error_log`` says, in the words of this kernel; empty if nothing.
        column: Where in ``command`` the caret points to, from 0.
        command: The words that were written, one blank between two.
    """

    def __init__(
        self, errno: int, command: str, identifier: str = "", text: str = "", column: int = 0
    ) -> None:
        self.id = identifier
        self.text = text
        self.column = column
        self.command = command
        super().__init__(errno, text or os.strerror(errno))

    @property
    def entry(self) -> str:
        """The entry in ``error_log`` but for its time stamp; empty if there is none."""
        if not self.id:
            return ""
        caret = " " * self.column + "^"
        return f"trace_kprobe: error: {self.text}\n  Command: {self.command}\n{_MARGIN}{caret}\n"

    def __str__(self) -> str:
        return self.entry.rstrip("\n") or f"{self.command}: {self.strerror}"
