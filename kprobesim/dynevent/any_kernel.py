"""``AnyKernel``: no kernel in particular, which takes what any kernel takes.

It is for definitions of which nobody has said for which kernel they are: what it refuses, all
refuse.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from kprobesim.dynevent.dialect import Dialect, newest_dialect

__all__ = ["AnyKernel"]

_SYMBOL = re.compile(r"(?:[^*?\[\]'\"\\:/]+:)?[^*?\[\]'\"\\:/]+")
_ENTRIES = (0, 4)  # behind an ENDBR64 or a BTI, too
_MOST_STACK_WORDS = 64 << 10 >> 3  # ARM64 with pages of 64 KiB


class _Any(Mapping[str, str]):
    """Every name, as itself."""

    def __getitem__(self, name: str) -> str:
        if not name:
            raise KeyError(name)
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class AnyKernel:
    """Facts that refuse nothing which some kernel from 5.10 to 7.3 takes.

    Attributes:
        registers: Every name is one: which there are, an architecture knows.
        stack_words: As many words as the largest stack has.
        types: Nobody knows them.
    """

    registers: Mapping[str, str] = _Any()
    stack_words = _MOST_STACK_WORDS
    types = None

    @cached_property
    def dialect(self) -> Dialect:
        """The newest grammar, with what older ones alone take."""
        return replace(
            newest_dialect(btf=True), unclosed_string=True, longest_event=64, most_nested=0
        )

    @property
    def newest(self) -> AnyKernel:
        """The same."""
        return self

    def module_is_loaded(self, name: str) -> bool:
        """Any may be."""
        return True

    def symbol_errno(self, symbol: str) -> int:
        """0, but for what can be no symbol's name, such as a pattern."""
        return 0 if _SYMBOL.fullmatch(symbol) else errno.ENOENT

    def entry_errno(self, symbol: str, offset: int) -> int:
        """0 where functions may be entered, else EINVAL."""
        return 0 if offset in _ENTRIES else errno.EINVAL

    def lookup(self, symbol: str) -> int | None:
        """Nobody knows where anything is."""
        return None

    def pointer_text(self, address: int) -> str:
        """The address: what it hashes to, only a kernel that runs could tell."""
        return f"{address:016x}"
