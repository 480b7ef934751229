"""The block of words that a compiled hit is given: what differs from one probe to another."""

from __future__ import annotations

__all__ = ["BLOCK", "STORES", "block_words"]

BLOCK = ("nmissed", "faults", "hits")
"""Its first words: hits that came while a probe was being handled; hits with a value that could
not be computed where one was needed; hits that met the condition."""
STORES = len(BLOCK)
"""Behind them the address of each action's store."""


def block_words(actions: int) -> int:
    """How many words a program of so many actions has."""
    return STORES + actions
