"""Memory in words that stays where it is: compiled code has its address."""

from __future__ import annotations

import ctypes
from typing import TypeAlias

__all__ = ["Words", "address_of", "new_words"]

Words: TypeAlias = "ctypes.Array[ctypes.c_uint64]"


def new_words(count: int) -> Words:
    """``count`` words of 0."""
    return (ctypes.c_uint64 * count)()


def address_of(words: Words, index: int = 0) -> int:
    """The host's address of a word."""
    return ctypes.addressof(words) + 8 * index
