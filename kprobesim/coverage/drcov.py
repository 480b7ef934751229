"""Files of drcov, version 2: a table of modules as text, and one of blocks in binary.

Format: DynamoRIO, ``clients/drcov/drcov.h`` and ``modules.c`` (9.0): ``bb_entry_t`` is the block's
offset in its module, its size and the module's number.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from kprobesim.machine.unicorn.covered_blocks import Block

__all__ = ["CodeArea", "drcov"]

_ENTRY = struct.Struct("<IHH")


class CodeArea(NamedTuple):
    """Code that belongs together: the kernel, or a module; up to ``end``, the first byte beyond."""

    name: str
    start: int
    end: int


def drcov(blocks: Iterable[Block], areas: Iterable[CodeArea]) -> bytes:
    """The file for ``blocks``; those in none of ``areas`` are left out."""
    known = sorted(areas, key=lambda area: area.start)
    starts = [area.start for area in known]
    entries = []
    for block in blocks:
        number = bisect_right(starts, block.address) - 1
        if number >= 0 and block.address < known[number].end:
            offset = block.address - known[number].start
            entries.append(_ENTRY.pack(offset, block.size, number))
    lines = [
        "DRCOV VERSION: 2",
        "DRCOV FLAVOR: drcov",
        f"Module Table: version 2, count {len(known)}",
        "Columns: id, base, end, entry, path",
        *(
            f"{number:3}, {area.start:#018x}, {area.end:#018x}, {0:#018x}, {area.name}"
            for number, area in enumerate(known)
        ),
        f"BB Table: {len(entries)} bbs",
    ]
    return "\n".join(lines).encode() + b"\n" + b"".join(entries)
