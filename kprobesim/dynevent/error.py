"""``ProbeEventError``: what a kernel says to a definition that it refuses."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError

__all__ = ["ProbeEventError"]

_MARGIN = " " * 11  # "  Command: "
_MOST_COLUMN = (1 << 16) - 1
_SHORT = 255  # MAX_FILTER_STR_VAL, with the NUL


def _cut(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")[:_SHORT]
    return data.decode("utf-8", "surrogateescape")


class ProbeEventError(KprobesimError, OSError):
    """A write into ``kprobe_events`` that the kernel refuses; it is an ``OSError`` with its errno.

    Attributes:
        errno: What the write fails with, positive.
        id: The kernel's name of the error, such as ``BAD_MAXACT_TYPE``
            (kernel/trace/trace_probe.h); empty if ``error_log`` stays as it is.
        text: What ``error_log`` says, in the words of this kernel; empty if nothing.
        column: Where in ``command`` the caret points to, from 0.
        command: The words that were written, one blank between two.
        short: The kernel's log keeps 255 characters of it, and a byte of the column (before 5.18).
    """

    def __init__(
        self,
        errno: int,
        command: str,
        identifier: str = "",
        text: str = "",
        column: int = 0,
        *,
        short: bool = False,
    ) -> None:
        self.short = short
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
        column, told = self.column & _MOST_COLUMN, f"\n  Command: {self.command}\n"
        if self.short:
            column, told = column & 0xFF, _cut(told)
        return f"trace_kprobe: error: {self.text}{told}{_MARGIN}{' ' * column}^\n"

    def __str__(self) -> str:
        told = self.entry.rstrip("\n") or f"{self.command}: {self.strerror}"
        why = self.__cause__  # of what the kernel tells by its errno alone
        return f"{told}\n{why}" if isinstance(why, KprobesimError) else told
