"""``TriggerError``: what a kernel answers to a trigger that it refuses."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError

__all__ = ["TriggerError"]


class TriggerError(KprobesimError, OSError):
    """A trigger that the kernel refuses by an errno alone; an ``OSError`` with it.

    Attributes:
        errno: What the write fails with, positive.
    """

    def __init__(self, errno: int, text: str = "") -> None:
        super().__init__(errno, text or os.strerror(errno))
