"""Direct branches of x86-64 between functions.

Nothing is decoded to find them. Of 4,000 million places that four bytes can name, 50,000 are
entries, so bytes that look like a CALL or JMP to one nearly always are one: in Debian's 6.1, of
208,674 that decoding finds none is missed, and 9 are too many. A short jump names one place in 256,
and is decoded.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence, Set

from kprobesim.arch.x86_64.insn import Undecodable, length
from kprobesim.functions.branches import Branches, keep_entries

__all__ = ["find_branches"]

_NEAR = re.compile(rb"[\xe8\xe9]|\x0f[\x80-\x8f]")
_SHORT = re.compile(rb"\xeb", re.DOTALL)
_CALL = 0xE8


def find_branches(text: bytes, base: int, entries: Sequence[int], is_entry: Set[int]) -> Branches:
    """All branches in ``text`` to an entry of another function.

    Args:
        text: Code, as it runs.
        base: Its address.
        entries: Where functions begin, in order.
        is_entry: The same.
    """
    found = [*_near(text, base, entries, is_entry), *_short(text, base, entries, is_entry)]
    found.sort()
    return keep_entries(found)


def _near(
    text: bytes, base: int, entries: Sequence[int], is_entry: Set[int]
) -> Iterator[tuple[int, int, int]]:
    distance = struct.Struct("<i").unpack_from
    most = len(text) - 4
    for match in _NEAR.finditer(text):
        end = match.end()
        if end > most:
            return
        target = base + end + 4 + distance(text, end)[0]
        if target in is_entry:
            site = base + match.start()
            if text[end - 1] == _CALL:
                yield site, target, 1
            elif entries[bisect_right(entries, site) - 1] != target:
                yield site, target, 0


def _short(
    text: bytes, base: int, entries: Sequence[int], is_entry: Set[int]
) -> Iterator[tuple[int, int, int]]:
    most = len(text) - 2
    for match in _SHORT.finditer(text):
        at = match.start()
        if at > most:
            return
        step = text[at + 1]
        target = base + at + 2 + (step - 256 if step > 127 else step)
        if target not in is_entry:
            continue
        site = base + at
        start = entries[bisect_right(entries, site) - 1]
        if start != target and _is_instruction(text, start - base, at):
            yield site, target, 0


def _is_instruction(text: bytes, start: int, at: int) -> bool:
    """Whether an instruction begins at ``at`` in the function from ``start`` on."""
    if start < 0:
        return False
    try:
        while start < at:
            start += length(text, start)
    except Undecodable:
        return False
    return start == at
