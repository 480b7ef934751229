"""ARM64 instructions as the words that patching reads and writes."""

from __future__ import annotations

__all__ = ["MOV_X9_LR", "NOP", "branch", "move"]

NOP = 0xD503201F
MOV_X9_LR = 0xAA1E03E9
_B = 0x14000000

#: Branches: mask, value, and where their distance is (shift, bits).
_BRANCHES = (
    (0x7C000000, 0x14000000, 0, 26),  # B, BL
    (0xFF000010, 0x54000000, 5, 19),  # B.cond
    (0x7E000000, 0x34000000, 5, 19),  # CBZ, CBNZ
    (0x7E000000, 0x36000000, 5, 14),  # TBZ, TBNZ
)
_ADRP_MASK, _ADRP = 0x9F000000, 0x90000000


def branch(place: int, target: int) -> int:
    """``B target`` at ``place``."""
    return _B | (target - place >> 2) & 0x3FFFFFF


def move(word: int, source: int, place: int, low: int, high: int) -> int:
    """The instruction ``word`` from ``source``, at ``place``, leading where it led.

    What leads into ``[low, high)`` was moved along and keeps its distance (get_alt_insn(),
    arch/arm64/kernel/alternative.c).
    """
    for mask, value, shift, bits in _BRANCHES:
        if word & mask == value:
            distance = _signed(word >> shift, bits) * 4
            if low <= source + distance < high:
                return word
            moved = source + distance - place >> 2
            field = (1 << bits) - 1
            return word & ~(field << shift) | (moved & field) << shift
    if word & _ADRP_MASK == _ADRP:
        pages = _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
        moved = (source >> 12) + pages - (place >> 12)
        return word & 0x9F00001F | (moved & 3) << 29 | (moved >> 2 & 0x7FFFF) << 5
    return word


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
