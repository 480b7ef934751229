"""The numbers that instruction words hold: of MOVZ, MOVN, ADD, SUB, CMP and logical instructions.

DecodeBitMasks() and the move wide instructions of the Arm ARM (C6.2, J1.1).
"""

from __future__ import annotations

from kprobesim.arch.arm64.insn import sign_extend

__all__ = ["immediate"]

_MOVE_WIDE, _MOVN, _MOVZ = 0x7F80_0000, 0x1280_0000, 0x5280_0000
_ADD_SUB = 0x1F80_0000, 0x1100_0000  # CMP is a SUBS
_LOGICAL = 0x1F80_0000, 0x1200_0000  # AND, ORR, EOR, ANDS


def immediate(word: int) -> int | None:
    """The number in ``word``, sign-extended from the register's size; ``None`` if it has none."""
    bits = 64 if word >> 31 else 32
    move = word & _MOVE_WIDE
    if move in (_MOVN, _MOVZ):
        value = (word >> 5 & 0xFFFF) << 16 * (word >> 21 & 3)
        return sign_extend(~value if move == _MOVN else value, bits)
    if word & _ADD_SUB[0] == _ADD_SUB[1]:
        return (word >> 10 & 0xFFF) << 12 * (word >> 22 & 1)
    if word & _LOGICAL[0] == _LOGICAL[1]:
        return _bit_mask(word >> 22 & 1, word >> 10 & 0x3F, word >> 16 & 0x3F, bits)
    return None


def _bit_mask(n: int, imms: int, immr: int, bits: int) -> int | None:
    """``imms`` + 1 ones, rotated right by ``immr``, in elements that fill the register."""
    length = (n << 6 | ~imms & 0x3F).bit_length() - 1
    if length < 1 or 1 << length > bits:
        return None
    size = 1 << length
    ones, turn = imms & size - 1, immr & size - 1
    if ones == size - 1:
        return None
    element = (1 << ones + 1) - 1
    element = (element >> turn | element << size - turn) & (1 << size) - 1
    return sign_extend(sum(element << at for at in range(0, bits, size)), bits)
