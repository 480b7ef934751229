"""The guest's own page tables, walked by the host (Intel SDM volume 3, chapter 4)."""

from __future__ import annotations

from kprobesim.boot.x86_64.state import X86State
from kprobesim.machine.unicorn.code_pages import CodePages
from kprobesim.sizes import MASK64

__all__ = ["Walk"]

_PRESENT, _LARGE = 1, 0x80
_NO_EXECUTE = 1 << 63
_FRAME = 0x000F_FFFF_FFFF_F000
_HALF = 1 << 47  # of what addresses of 48 bits reach, at either end


class Walk:
    """Virtual to physical by the page tables that CR3 names; four levels."""

    def __init__(self, state: X86State, words: memoryview, code_pages: CodePages) -> None:
        self._state = state
        self._code, self._code_pages = code_pages.code, code_pages
        self._words = words  # RAM as 64-bit words
        self._size = len(words)

    def _leaf(self, address: int) -> tuple[int, int, int]:
        """(entry, size of its page, NX bits on the way); entry 0 where nothing is mapped."""
        if address + _HALF & MASK64 >= 2 * _HALF:
            return 0, 1, 0  # not canonical
        words, size = self._words, self._size
        table, refused = self._state.cr[3], 0
        for shift in (39, 30, 21, 12):
            at = (table & _FRAME) >> 3 | address >> shift & 511
            table = words[at] if at < size else 0
            if not table & _PRESENT:
                return 0, 1, 0
            refused |= table & _NO_EXECUTE
            if shift == 12 or (table & _LARGE and shift < 39):
                break
        return table, 1 << shift, refused

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
