"""Pointers to functions in a kernel's data: in tables of operations, exports, initcalls."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Set

from kprobesim.image import KernelImage
from kprobesim.image.tables.exports import exported
from kprobesim.image.tables.places import relative_addresses

__all__ = ["pointed_at"]

#: Tables of 32-bit distances to functions (include/linux/init.h with PREL32_RELOCATIONS).
_RELATIVE = (("__initcall_start", "__initcall_end"), ("__con_initcall_start", "__con_initcall_end"))


def pointed_at(image: KernelImage, entries: Set[int]) -> set[int]:
    """Those of ``entries`` whose address stands in the data of ``image``.

    The kernel's tables of all functions of a kind, which call nobody, do not count: ftrace's sites,
    the list of what must not be probed, and that of what errors may be injected into.
    """
    found = Counter(_words(image, entries))
    found.subtract(Counter(image.mcount_sites))
    found.subtract(Counter(image.kprobe_blacklist))
    found.subtract(Counter(function for function, _ in image.error_injection))
    taken = {address for address, count in found.items() if count > 0}
    taken.update(filter(entries.__contains__, exported(image).values()))
    for start, stop in _RELATIVE:
        place = image.bounds(start, stop)
        if place is not None:
            table = image.read(place[0], place[1] - place[0])
            pointers = relative_addresses(place[0], table, 4)
            taken.update(filter(entries.__contains__, pointers))
    return taken


def _words(image: KernelImage, entries: Set[int]) -> Iterator[int]:
    """The aligned 64-bit words of ``image`` that are one of ``entries``, as often as they occur."""
    for segment in image.segments:
        if segment.vaddr % 8:
            continue
        data = segment.data[: len(segment.data) & ~7]
        if sys.byteorder == "little":
            words: memoryview | array[int] = memoryview(data).cast("B").cast("Q")
        else:
            words = array("Q", bytes(data))
            words.byteswap()
        yield from filter(entries.__contains__, words)
