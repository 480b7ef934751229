"""Which pages of a private mapping of a file were written: Linux knows, from its page tables.

A page that was written is an anonymous copy; one that was only read is the file's own. The ioctl
PAGEMAP_SCAN (Linux 6.7) gives the ranges, /proc/self/pagemap a word a page (since 4.2, see
Documentation/admin-guide/mm/pagemap.rst). Where neither can be had, or they do not say what they
should (both are tried first), there is no tracker.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from functools import cache
from itertools import groupby

from kprobesim.machine.host_mapping import map_private, new_file

__all__ = ["PAGE", "Ranges", "Tracker", "find_tracker", "pagemap_tracker", "scan_tracker"]

PAGE = mmap.PAGESIZE
"""The host's, which may be larger than the guest's."""

Ranges = list[tuple[int, int]]
"""Start and end of each, in ascending order, from the start of the mapping."""

Tracker = Callable[[int, int, bool], Ranges]
"""``tracker(address, size, written)``: the pages there that were written; or, if not ``written``,
all that are in use: those never touched, of memory without a file, are zero."""

_FILE, _PRESENT, _SWAPPED = 1 << 2, 1 << 3, 1 << 4  # PAGE_IS_* of linux/fs.h
_SCAN_FIELDS = (
    *("size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages"),
    *("category_inverted", "category_mask", "category_anyof_mask", "return_mask"),
)
_SCAN = 3 << 30 | 8 * len(_SCAN_FIELDS) << 16 | ord("f") << 8 | 16  # _IOWR('f', 16, pm_scan_arg)
# What the kernel collects at a time: given room for more, Linux 6.18 invents some.
_REGIONS = 512

_PM_PRESENT, _PM_SWAPPED, _PM_FILE = 1 << 63, 1 << 62, 1 << 61


class _ScanArguments(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in _SCAN_FIELDS]


@cache
def find_tracker() -> Tracker | None:
    """The fastest that works here; ``None`` if there is none."""
    for make in (scan_tracker, pagemap_tracker):
        try:
            tracker = make()
            if _works(tracker):
                return tracker
        except OSError:
            pass  # an older kernel, or a sandbox
    return None


def _open_pagemap() -> int:
    """This process's; in a child that is forked off later it is the child's own."""
    pagemap = _really_open_pagemap()
    _opened.append(pagemap)
    return pagemap


def _really_open_pagemap() -> int:
    return os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)


_opened: list[int] = []


def _forked() -> None:
    """What was opened is the parent's pages: put the child's in its place."""
    for descriptor in _opened:
        own = _really_open_pagemap()
        os.dup2(own, descriptor, inheritable=False)
        os.close(own)


os.register_at_fork(after_in_child=_forked)


def scan_tracker() -> Tracker:
    """By PAGEMAP_SCAN; raises ``OSError`` on Linux before 6.7."""
    pagemap = _open_pagemap()

    class Asked(threading.local):
        """Of one thread: others may ask while the kernel answers."""

        def __init__(self) -> None:
            self.regions = (ctypes.c_uint64 * (3 * _REGIONS))()
            self.arguments = _ScanArguments(size=ctypes.sizeof(_ScanArguments), vec_len=_REGIONS)
            self.arguments.vec = ctypes.addressof(self.regions)
            self.arguments.category_anyof_mask = _PRESENT | _SWAPPED

    asked = Asked()

    def scan(address: int, size: int, written: bool) -> Ranges:
        regions, arguments = asked.regions, asked.arguments
        arguments.category_inverted = arguments.category_mask = _FILE if written else 0
        at = address
        found: Ranges = []
        while at < address + size:
            arguments.start, arguments.end = at, address + size
            count = fcntl.ioctl(pagemap, _SCAN, arguments)
            words = regions[: 3 * count]
            found += zip(
                [start - address for start in words[::3]],
                [end - address for end in words[1::3]],
                strict=True,
            )
            at = arguments.walk_end
        return found

    return scan


def pagemap_tracker() -> Tracker:
    """By the words of /proc/self/pagemap: 1 ms for each 256 MiB."""
    pagemap = _open_pagemap()

    def look(address: int, size: int, written: bool) -> Ranges:
        data = os.pread(pagemap, size // PAGE * 8, address // PAGE * 8)
        if len(data) != size // PAGE * 8:
            raise OSError("/proc/self/pagemap gives less than was asked for")
        zero = bytes(8)
        # Most words are zero: pages that nobody has touched.
        found: list[int] = []
        for index, word in enumerate(memoryview(data).cast("Q")) if data.strip(zero) else ():
            if word & (_PM_PRESENT | _PM_SWAPPED) and not (written and word & _PM_FILE):
                found.append(index)
        return _ranges(found)

    return look


def _ranges(pages: list[int]) -> Ranges:
    ranges = []
    for _, group in groupby(enumerate(pages), lambda item: item[1] - item[0]):
        run = [page for _, page in group]
        ranges.append((run[0] * PAGE, (run[-1] + 1) * PAGE))
    return ranges


def _works(tracker: Tracker) -> bool:
    """Try it on five pages: one is only read, two are written, one of them with what it held."""
    descriptor = new_file(5 * PAGE)
    try:
        os.pwrite(descriptor, b"\1" * 4 * PAGE, 0)
        area = mmap.mmap(-1, 5 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        place = ctypes.c_char.from_buffer(area)
        address = ctypes.addressof(place)
        area[2 * PAGE] = 1
        used = tracker(address, 5 * PAGE, False)
        map_private(address, 5 * PAGE, descriptor)
        clean = tracker(address, 5 * PAGE, True)
        area[1 * PAGE] = area[0]
        area[3 * PAGE] = 5
        written = tracker(address, 5 * PAGE, True)
        del place
        area.close()
    finally:
        os.close(descriptor)
    pages = [(PAGE, 2 * PAGE), (3 * PAGE, 4 * PAGE)]
    return used == [(2 * PAGE, 3 * PAGE)] and clean == [] and written == pages
