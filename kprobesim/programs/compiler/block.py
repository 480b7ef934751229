"""The block of words that a compiled hit is given: what differs from one probe to another."""

from __future__ import annotations

__all__ = ["BLOCK", "RETURNS", "STORES", "block_words", "returns_at"]

BLOCK = ("nmissed", "faults", "hits")
"""Its first words: hits that came while a probe was being handled; hits with a value that could
not be computed where one was needed; hits that met the condition."""
STORES = len(BLOCK)
"""Behind them the address of each action's store."""
RETURNS = ("address", "free")
"""Behind those, of return programs: the function, and the first of its free instances
(:mod:`~kprobesim.programs.pending`)."""


def block_words(actions: int) -> int:
    """How many words a program of so many actions has."""
    return STORES + actions + len(RETURNS)


def returns_at(actions: int, name: str) -> int:
    """The number of one of :data:`RETURNS`."""
    return STORES + actions + RETURNS.index(name)
