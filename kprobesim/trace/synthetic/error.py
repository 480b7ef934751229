"""``SyntheticError``: what a kernel answers to a synthetic event that it refuses."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError

__all__ = ["SyntheticError"]

_TEXTS = {
    "BAD_NAME": "Illegal name",
    "INVALID_CMD": "Command must be of the form: <name> field[;field] ...",
    "INVALID_DYN_CMD": ("Command must be of the form: s or -:[synthetic/]<name> field[;field] ..."),
    "EVENT_EXISTS": "Event already exists",
    "TOO_MANY_FIELDS": "Too many fields",
    "INCOMPLETE_TYPE": "Incomplete type",
    "INVALID_TYPE": "Invalid type",
    "INVALID_FIELD": "Invalid field",
    "INVALID_ARRAY_SPEC": "Invalid array specification",
}
_MARGIN = " " * 11  # "  Command: "


class SyntheticError(KprobesimError, OSError):
    """A command to ``synthetic_events`` that the kernel refuses; an ``OSError`` with its errno.

    Attributes:
        errno: What the write fails with, positive.
        id: The kernel's name of the error; empty if ``error_log`` stays as it is.
        command: What was written.
        part: What of it the caret points to.
    """

    def __init__(self, errno: int, command: str, identifier: str = "", part: str = "") -> None:
        self.id = identifier
        self.command = command
        self.part = part
        super().__init__(errno, _TEXTS.get(identifier) or os.strerror(errno))

    @property
    def entry(self) -> str:
        """The entry in ``error_log`` but for its time stamp; empty if there is none."""
        if not self.id:
            return ""
        column = max(self.command.find(self.part), 0) if self.part else 0
        head = f"synthetic_events: error: {_TEXTS[self.id]}\n  Command: {self.command}\n"
        return f"{head}{_MARGIN}{' ' * column}^\n"
