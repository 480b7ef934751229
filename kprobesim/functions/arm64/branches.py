"""Direct branches of ARM64 between functions: BL, and B as a tail call."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence, Set

from kprobesim.arch.arm64.insn import branch26
from kprobesim.functions.branches import Branches, keep_entries

__all__ = ["find_branches"]

#: The highest byte of a word of B and of BL; no other word begins so.
_BRANCH = re.compile(rb"[\x14-\x17\x94-\x97]", re.DOTALL)


def find_branches(text: bytes, base: int, entries: Sequence[int], is_entry: Set[int]) -> Branches:
    """All branches in ``text`` to an entry of another function.

    Args:
        text: Code, as it runs.
        base: Its address, a multiple of four.
        entries: Where functions begin, in order.
        is_entry: The same.
    """
    return keep_entries(_branches(text, base, entries, is_entry))


def _branches(
    text: bytes, base: int, entries: Sequence[int], is_entry: Set[int]
) -> Iterator[tuple[int, int, int]]:
    words = memoryview(text[: len(text) & ~3]).cast("I")
    for match in _BRANCH.finditer(text[3::4]):
        index = match.start()
        word = words[index]
        site = base + 4 * index
        target = site + branch26(word)
        if target in is_entry:
            if word >> 31:
                yield site, target, 1
            elif entries[bisect_right(entries, site) - 1] != target:
                yield site, target, 0
