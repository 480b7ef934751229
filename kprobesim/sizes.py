"""The two sizes that every room counts with: a machine word of 64 bits, and a page of 4 KiB.

And one that a kernel's verbs name before anything of programs is imported.
"""

from __future__ import annotations

__all__ = ["MASK16", "MASK32", "MASK64", "MAX_KEYS", "PAGE", "page_down", "page_up", "signed64"]

MASK16 = (1 << 16) - 1
MASK32 = (1 << 32) - 1
MASK64 = (1 << 64) - 1
"""An address or a register that has wrapped around: ``value & MASK64``."""

PAGE = 4096
"""Bytes of the smallest page of both architectures; the guests' page tables are made of these."""

MAX_KEYS = 1 << 20
"""How many keys a program's table may have where nobody says another number."""


def page_up(value: int) -> int:
    """``value`` rounded up to a page."""
    return (value + PAGE - 1) & ~(PAGE - 1)


def page_down(value: int) -> int:
    """``value`` rounded down to a page."""
    return value & ~(PAGE - 1)


def signed64(value: int) -> int:
    """The word ``value`` as C's ``long`` has it."""
    return value - (1 << 64) if value >> 63 else value
