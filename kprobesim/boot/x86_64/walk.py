"""The guest's own page tables, walked by the host (Intel SDM volume 3, chapter 4)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from kprobesim.boot.x86_64.state import X86State
from kprobesim.machine.unicorn.code_pages import CodePages
from kprobesim.sizes import MASK64, PAGE

__all__ = ["Walk"]

_PRESENT, _LARGE = 1, 0x80
_NO_EXECUTE = 1 << 63
_FRAME = 0x000F_FFFF_FFFF_F000
_HALF = 1 << 47  # of what addresses of 48 bits reach, at either end
_MOST_KNOWN = 4096

_Leaf = tuple[int, int, int]
_Known = tuple[int, int, int, int, int, int, int, int, _Leaf, int]
"""Index and value of each entry on the way, the last one as often as four levels need; what was
found; and the index of the first word of the 4 KiB."""


class Walk:
    """Virtual to physical by the page tables that CR3 names; four levels.

    What a page's walk has found is remembered, and each entry on its way compared when it is asked
    for again: the guest may change its tables at any time. That takes a third of the walk.
    """

    def __init__(self, state: X86State, words: memoryview, code_pages: CodePages) -> None:
        self._code, self._code_pages = code_pages.code, code_pages
        self._words = words  # RAM as 64-bit words
        self._size = len(words)
        at = ctypes.addressof(state) + type(state).cr.offset + 3 * ctypes.sizeof(ctypes.c_uint64)
        self._cr3 = ctypes.c_uint64.from_address(at)
        self._state = state  # it lives as long
        self._known: dict[tuple[int, int], _Known] = {}

    def _leaf(self, address: int) -> _Leaf:
        """(entry, size of its page, NX bits on the way); entry 0 where nothing is mapped."""
        words, root = self._words, self._cr3.value
        known = self._known.get((root, address >> 12))
        if known is not None:
            a, entry_a, b, entry_b, c, entry_c, d, entry_d, leaf, _ = known
            if (
                words[d] == entry_d
                and words[c] == entry_c
                and words[b] == entry_b
                and words[a] == entry_a
            ):
                return leaf
        if address + _HALF & MASK64 >= 2 * _HALF:
            return 0, 1, 0  # not canonical
        size, table, refused, way = self._size, root, 0, list[int]()
        for shift in (39, 30, 21, 12):
            at = (table & _FRAME) >> 3 | address >> shift & 511
            table = words[at] if at < size else 0
            if not table & _PRESENT:
                return 0, 1, 0
            way += at, table
            refused |= table & _NO_EXECUTE
            if shift == 12 or (table & _LARGE and shift < 39):
                break
        leaf = table, 1 << shift, refused
        first = (table & _FRAME & -(1 << shift) | address & (1 << shift) - PAGE) >> 3
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        way += way[-2:] * (4 - len(way) // 2)
        self._known[root, address >> 12] = (*way, leaf, first)  # type: ignore[assignment]
        return leaf

    def reader(self, otherwise: Callable[[int], int]) -> Callable[[int], int]:
        """``read_u64(address)`` for pages that were walked to before; else ``otherwise`` does it.

        Return probes read a word at each call of a function.
        """
        words, known, cr3, size = self._words, self._known, self._cr3, self._size

        def read_u64(address: int) -> int:
            found = known.get((cr3.value, address >> 12))
            if found is not None and not address & 7:
                a, entry_a, b, entry_b, c, entry_c, d, entry_d, _, first = found
                if (
                    words[d] == entry_d
                    and words[c] == entry_c
                    and words[b] == entry_b
                    and words[a] == entry_a
                    and first < size
                ):
                    value: int = words[first + ((address & PAGE - 1) >> 3)]
                    return value
            return otherwise(address)

        return read_u64

    def physical(self, address: int) -> int | None:
        """The physical address of virtual ``address``; ``None`` where nothing is mapped."""
        entry, size, _ = self._leaf(address)
        return entry & _FRAME & -size | address & size - 1 if entry else None

    def translate(self, address: int) -> tuple[int, bool] | None:
        """Virtual to (physical address, executable); ``None`` where nothing is mapped."""
        entry, size, refused = self._leaf(address)
        if not entry:
            return None
        return entry & _FRAME & -size | address & size - 1, not refused

    def word(self, address: int) -> int | None:
        """The aligned 64-bit word at virtual ``address``; ``None`` where no RAM is mapped."""
        at = self.physical(address)
        if at is None or at >> 3 >= self._size:
            return None
        value: int = self._words[at >> 3]
        return value

    def store(self, address: int, value: int) -> bool:
        """Store an aligned 64-bit word at virtual ``address``; false where no RAM is mapped."""
        at = self.physical(address)
        if at is None or at >> 3 >= self._size:
            return False
        self._words[at >> 3] = value
        if self._code[at >> 12]:
            self._code_pages.forget(at, 8)
        return True
