"""Why a program is not compiled."""

from __future__ import annotations

__all__ = ["NotCompiledError"]


class NotCompiledError(Exception):
    """A value of a kind that only the interpreter computes."""
