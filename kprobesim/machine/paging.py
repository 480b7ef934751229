"""Guest page tables: four levels of 512 entries, 4 KiB pages and 2 MiB blocks.

Both architectures use the same geometry (x86-64 long mode; ARM64 with a 4 KiB granule and 48-bit
addresses) and differ in the bits of an entry. Real page tables with non-executable data are what
makes Unicorn fast: 3-8 times faster than its virtual TLB mode.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import Protocol

from kprobesim.sizes import PAGE

__all__ = ["PageTables", "PteFormat"]

_BLOCK = 2 << 20


class PteFormat(Protocol):
    """How an architecture writes a page table entry. ``prot`` has the bits of ``memory.Prot``."""

    def table(self, physical: int) -> int:
        """The entry that leads to the next table."""

    def page(self, physical: int, prot: int) -> int:
        """The entry of a 4 KiB page."""

    def block(self, physical: int, prot: int) -> int:
        """The entry of a 2 MiB block."""

    def target(self, entry: int) -> int | None:
        """The physical address in an entry that leads to a table; ``None`` if it does not."""


class PageTables:
    """Two trees in RAM: ``low`` for user addresses, ``high`` for kernel ones (x86 uses one)."""

    def __init__(
        self,
        ram: mmap.mmap,
        base: int,
        take_frames: Callable[[], int],
        pte_format: PteFormat,
    ) -> None:
        self._ram = ram
        self._base = base
        self._take = take_frames
        self._format = pte_format
        self._roots: dict[bool, int] = {}
        self._repeated: set[int] = set()

    def plant(self, *, shared: bool) -> tuple[int, int]:
        """Take frames for the roots; returns (low, high), the same when ``shared``."""
        low = self._take()
        high = low if shared else self._take()
        self._roots = {False: low, True: high}
        return low, high

    def map(self, start: int, physical: int, size: int, prot: int) -> None:
        """Map [``start``, ``start + size``) on ``physical``; all are multiples of a page."""
        block, page = self._format.block, self._format.page
        self._fill(start, physical, size, lambda at: block(at, prot), lambda at: page(at, prot))

    def unmap(self, start: int, physical: int, size: int) -> None:
        """Undo :meth:`map` of the same range; who cached translations must forget them."""
        self._fill(start, physical, size, lambda at: 0, lambda at: 0)

    def map_repeated(self, start: int, end: int, physical: int, prot: int) -> None:
        """Map every page of [``start``, ``end``) on the one at ``physical``.

        The tables repeat, too: four frames do for 256 TiB. Where :meth:`map` maps something else
        later, the tables on the way become its own.
        """
        ram, base = self._ram, self._base
        same = [self._format.page(physical, prot)]  # an entry of each level, from the last one up
        for _ in range(3):
            table = self._take()
            ram[table - base : table - base + PAGE] = same[-1].to_bytes(8, "little") * 512
            self._repeated.add(table)
            same.append(self._format.table(table))
        while start < end:
            shift = 39
            while start & (1 << shift) - 1 or end - start < 1 << shift:
                shift -= 9
            table = self._descend(start, (39 - shift) // 9)
            self._store(table, start >> shift & 511, same[(shift - 12) // 9])
            start += 1 << shift

    def _fill(
        self,
        start: int,
        physical: int,
        size: int,
        block_entry: Callable[[int], int],
        page_entry: Callable[[int], int],
    ) -> None:
        end = start + size
        while start < end:
            block = not (start | physical) & (_BLOCK - 1) and end - start >= _BLOCK
            table = self._descend(start, 2 if block else 3)
            index = start >> (21 if block else 12) & 511
            encode = block_entry if block else page_entry
            step = _BLOCK if block else PAGE
            while start < end and (step == PAGE or end - start >= _BLOCK):
                self._store(table, index, encode(physical))
                start += step
                physical += step
                index += 1
                if index == 512:
                    break

    def _descend(self, address: int, levels: int) -> int:
        table = self._roots[bool(address >> 63)]
        for level in range(levels):
            index = address >> (39 - 9 * level) & 511
            entry = self._load(table, index)
            child = self._format.target(entry)
            if child is None:
                child = self._take()
                self._store(table, index, self._format.table(child))
            elif child in self._repeated:
                kept, child = child - self._base, self._take()
                at = child - self._base
                self._ram[at : at + PAGE] = self._ram[kept : kept + PAGE]
                self._store(table, index, self._format.table(child))
            table = child
        return table

    def _load(self, table: int, index: int) -> int:
        (entry,) = struct.unpack_from("<Q", self._ram, table - self._base + index * 8)
        return int(entry)

    def _store(self, table: int, index: int, entry: int) -> None:
        struct.pack_into("<Q", self._ram, table - self._base + index * 8, entry)
