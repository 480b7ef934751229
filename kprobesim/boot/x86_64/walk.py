"""The guest's own page tables, walked by the host (Intel SDM volume 3, chapter 4)."""

from __future__ import annotations

from kprobesim.boot.x86_64.state import X86State

__all__ = ["Walk"]

_PRESENT, _LARGE = 1, 0x80
_FRAME = 0x000F_FFFF_FFFF_F000
_HUGE, _BIG, _SMALL = (1 << 30) - 1, (2 << 20) - 1, 0xFFF


class Walk:
    """Virtual to physical by the page tables that CR3 names; four levels."""

    def __init__(self, state: X86State, words: memoryview) -> None:
        self._state = state
        self._words = words  # RAM as 64-bit words
        self._size = len(words)

    def physical(self, address: int) -> int | None:
        """The physical address of virtual ``address``; ``None`` where nothing is mapped."""
        words, size = self._words, self._size
        at = (self._state.cr[3] & _FRAME) >> 3 | address >> 39 & 511
        entry = words[at] if at < size else 0
        if not entry & _PRESENT:
            return None
        at = (entry & _FRAME) >> 3 | address >> 30 & 511
        entry = words[at] if at < size else 0
        if not entry & _PRESENT:
            return None
        if entry & _LARGE:
            return entry & _FRAME & ~_HUGE | address & _HUGE
        at = (entry & _FRAME) >> 3 | address >> 21 & 511
        entry = words[at] if at < size else 0
        if not entry & _PRESENT:
            return None
        if entry & _LARGE:
            return entry & _FRAME & ~_BIG | address & _BIG
        at = (entry & _FRAME) >> 3 | address >> 12 & 511
        entry = words[at] if at < size else 0
        if not entry & _PRESENT:
            return None
        return entry & _FRAME | address & _SMALL

    def word(self, address: int) -> int | None:
        """The aligned 64-bit word at virtual ``address``."""
        at = self.physical(address)
        if at is None or at >> 3 >= self._size:
            return None
        value: int = self._words[at >> 3]
        return value

    def store(self, address: int, value: int) -> bool:
        """Store an aligned 64-bit word at virtual ``address``; false where nothing is mapped."""
        at = self.physical(address)
        if at is None or at >> 3 >= self._size:
            return False
        self._words[at >> 3] = value
        return True
