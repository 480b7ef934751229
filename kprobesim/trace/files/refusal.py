"""``TracefsError``: what the files of tracefs say no with."""

from __future__ import annotations

import os

from kprobesim.errors import KprobesimError

__all__ = ["TracefsError", "refusal"]


class TracefsError(KprobesimError, OSError):
    """A file of tracefs cannot be opened, read or written: an ``OSError`` with the kernel's errno.

    Attributes:
        errno: The positive errno.
        strerror: What is wrong, for people.
        filename: The path of the file in tracefs, once it is known.
    """


def refusal(errno: int, why: str = "") -> TracefsError:
    """The error for ``errno``, with what is wrong in words, by default the system's own."""
    return TracefsError(errno, why or os.strerror(errno))
