"""Files of lcov: how often each source line has run (``geninfo(1)``, "FILES").

A line may be in many places: copied by the compiler, or inlined. As often as the most frequent of
them has run, so has the line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, pairwise

from kprobesim.functions.dwarf.inlines import Inlines
from kprobesim.functions.dwarf.symcache import SymCache
from kprobesim.image import KernelImage
from kprobesim.machine.unicorn.covered_blocks import Block

__all__ = ["Hits", "lcov"]


class Hits:
    """How often the code at an address has run; blocks may overlap."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        """Add up ``blocks``."""
        changes: dict[int, int] = defaultdict(int)
        for block in blocks:
            changes[block.address] += block.hits
            changes[block.address + block.size] -= block.hits
        self._starts = sorted(changes)
        self._hits = list(accumulate(changes[start] for start in self._starts))

    def most(self, start: int, end: int) -> int:
        """Of the bytes from ``start`` up to ``end``, the one that has run most."""
        at = bisect_right(self._starts, start) - 1
        most = 0 if at < 0 else self._hits[at]
        at += 1
        while at < len(self._starts) and self._starts[at] < end:
            most = max(most, self._hits[at])
            at += 1
        return most


def lcov(blocks: Iterable[Block], cache: SymCache, image: KernelImage) -> str:
    """The file for ``blocks``: all lines with code of the source files of which one has run.

    Args:
        blocks: What has run.
        cache: The debug information.
        image: The kernel, where it is.
    """
    lines = _lines_of_files(Hits(blocks), cache, Inlines(cache, image).base)
    records = (_record(file, found) for file, found in sorted(lines.items()) if any(found.values()))
    return "".join(chain(["TN:\n"], *records))


def _lines_of_files(hits: Hits, cache: SymCache, base: int) -> dict[str, dict[int, int]]:
    files: dict[str, dict[int, int]] = defaultdict(dict)
    for (start, file, line), (end, *_) in pairwise(chain(cache.lines(), [(1 << 32, "", 0)])):
        if line:
            found = files[file]
            found[line] = max(found.get(line, 0), hits.most(base + start, base + end))
    return files


def _record(file: str, lines: dict[int, int]) -> Iterator[str]:
    yield f"SF:{file}\n"
    for line in sorted(lines):
        yield f"DA:{line},{lines[line]}\n"
    hit = sum(1 for hits in lines.values() if hits)
    yield f"LH:{hit}\nLF:{len(lines)}\nend_of_record\n"
