"""How an architecture says no to a probe; the manager turns it into a ``KprobeError``."""

from __future__ import annotations

from kprobesim.errors import Reason

__all__ = ["Refused"]


class Refused(Exception):
    """An instruction that cannot be probed.

    ``errno`` is positive, ``reason`` names the rule and ``message`` says it in words. The manager,
    which knows the symbol that was asked for, raises the public error from these three.
    """

    def __init__(self, errno: int, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.errno = errno
        self.reason = reason
        self.message = message
