"""``FilterError``: what a kernel answers to a filter that it refuses."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError
from kprobesim.trace.filters.texts import TEXTS

__all__ = ["FilterError"]

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
        self._logged = column & ((1 << logged_bits) - 1)
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
        text, column = (TEXTS[self.id], self._logged) if self.id else (TEXTS["ERRNO"], 0)
        caret = " " * column + "^"
        head = f"event filter parse error: error: {text}"
        return f"{head}\n  Command: {self.filter}\n{_MARGIN}{caret}\n"

    def __str__(self) -> str:
        return self.shown.rstrip("\n")
