"""In which order a histogram's entries are shown: the kernel's heapsort, which is not stable.

kernel/trace/tracing_map.c (``tracing_map_sort_entries()``): entries are sorted by the bytes of
their keys first, to find doubles, and then by the sort keys. lib/sort.c: since 6.11 two elements
are taken out of the heap at a time, and which of two equal ones goes up is chosen otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["heapsort", "sort_by"]

_T = TypeVar("_T")
_DOUBLE_POP = 6, 11
Compare = Callable[[_T, _T], int]


def heapsort(items: list[_T], compare: Compare[_T], version: tuple[int, ...]) -> None:
    """Sort ``items`` as the kernel's ``sort()`` does, equal ones in its order, too."""
    doubly = version >= _DOUBLE_POP
    end, start = len(items), len(items) // 2
    if not start:
        return
    shift = 0
    while True:
        if start:
            start -= 1 << shift
        elif doubly and end > 3:
            end -= 1
            items[0], items[end] = items[end], items[0]
            shift = int(compare(items[1], items[2]) <= 0)
            start = 1 << shift
            end -= 1
            items[start], items[end] = items[end], items[start]
        elif not doubly and end > 1:
            end -= 1
            items[0], items[end] = items[end], items[0]
        else:
            break
        _sift(items, start, end, compare, least=1 if doubly else 0)
    if doubly:
        end -= 1
        items[0], items[end] = items[end], items[0]
        if end == 2 and compare(items[0], items[1]) > 0:
            items[0], items[1] = items[1], items[0]


def _sift(items: list[_T], start: int, end: int, compare: Compare[_T], *, least: int) -> None:
    """Let the element at ``start`` sink: first down to a leaf, then up to where it belongs."""
    at = start
    while 2 * at + 2 < end:
        left = 2 * at + 1
        at = left if compare(items[left], items[left + 1]) >= least else left + 1
    if 2 * at + 2 == end:
        at = 2 * at + 1
    while at != start and compare(items[start], items[at]) >= 0:
        at = (at - 1) // 2
    place = at
    while at != start:
        at = (at - 1) // 2
        items[at], items[place] = items[place], items[at]


def sort_by(
    items: list[_T], compares: list[Compare[_T]], doubles: Compare[_T], version: tuple[int, ...]
) -> None:
    """Sort entries.

    Args:
        items: They, in any order.
        compares: What the first sort key compares, and perhaps the second one.
        doubles: What compares the bytes of keys.
        version: The kernel's.
    """
    if len(items) < 2:
        return
    heapsort(items, doubles, version)
    heapsort(items, compares[0], version)
    if len(compares) < 2:
        return
    first = 0
    for number in range(1, len(items) + 1):
        if number < len(items) and compares[0](items[number - 1], items[number]) == 0:
            continue
        if number - first > 1:
            run = items[first:number]
            heapsort(run, compares[1], version)
            items[first:number] = run
        first = number
