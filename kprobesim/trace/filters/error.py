"""``FilterError``: what a kernel answers to a filter that it refuses."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError
from kprobesim.trace.filters.texts import TEXTS

__all__ = ["FilterError"]

_OLD_COMMAND = 255  # of MAX_FILTER_STR_VAL, as long as columns were bytes
_MARGIN = " " * 11  # "  Command: "


class FilterError(KprobesimError, OSError):
    """A filter that the kernel refuses; an ``OSError`` with its errno.

    Attributes:
        errno: What the write fails with, positive.
        filter: What was written.
        id: The kernel's name of the error (kernel/trace/trace_events_filter.c); empty where it
            knows of none.
        column: Where in the filter it was found, from 0; it may be behind its end.
    """

    def __init__(
        self,
        errno: int,
        text: str,
        identifier: str = "",
        column: int = 0,
        *,
        logged_bits: int = 16,
    ) -> None:
        """``logged_bits``: how large a column ``error_log`` keeps."""
        self._bits = logged_bits
        self.filter = text
        self.id = identifier
        self.column = column
        super().__init__(errno, TEXTS[identifier] if identifier else os.strerror(errno))

    @property
    def shown(self) -> str:
        """What the file ``filter`` reads after the refusal, without the end of its last line."""
        if not self.id:
            return f"{self.filter}\nError: (0)\n"
        caret = " " * min(self.column, len(self.filter)) + "^"
        return f"{self.filter}\n{caret}\nparse_error: {TEXTS[self.id]}\n"

    @property
    def entry(self) -> str:
        """The entry in ``error_log`` but for its time stamp."""
        text, column = (TEXTS[self.id], self.column) if self.id else (TEXTS["ERRNO"], 0)
        caret = " " * (column & ((1 << self._bits) - 1)) + "^"
        head = f"event filter parse error: error: {text}"
        command = self.filter if self._bits > 8 else self.filter[:_OLD_COMMAND]
        return f"{head}\n  Command: {command}\n{_MARGIN}{caret}\n"

    def __str__(self) -> str:
        return self.shown.rstrip("\n")
