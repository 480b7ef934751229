"""What ARM64 instructions do to argument registers, x0 to x7.

Classes of words as in the Arm ARM, chapter C4; what is not understood reads all of them, so that no
argument is taken for lost that is not.
"""

from __future__ import annotations

from kprobesim.arch.arm64.insn import branch19, branch26, imm14_displacement, matches
from kprobesim.functions.effects import ALL, Effect, Leads

__all__ = ["effect"]

_BITS = (*(1 << number for number in range(8)), *(0 for _ in range(24)))


def effect(code: bytes, offset: int, address: int) -> Effect:
    """What the word at ``offset`` of ``code`` does, which is at ``address``."""
    word = int.from_bytes(code[offset : offset + 4], "little")
    group = word >> 25 & 15
    if group in (8, 9):
        return _immediate(word)
    if group in (10, 11):
        return _branch(word, address)
    if group in (5, 13):
        return _register(word)
    if group in (4, 6, 12, 14):
        return _memory(word)
    if group in (7, 15):  # floating point: what it takes from general registers
        return Effect(4, _BITS[word >> 5 & 31])
    return Effect(4, ALL)


def _immediate(word: int) -> Effect:
    kind = word >> 23 & 7
    target, source = _BITS[word & 31], _BITS[word >> 5 & 31]
    if kind in (0, 1):  # ADR, ADRP
        return Effect(4, 0, target)
    if kind == 5:  # MOVN, MOVZ; MOVK keeps the rest
        return Effect(4, target if word >> 29 & 3 == 3 else 0, target)
    if kind == 6 and word >> 29 & 3 == 1:  # BFM keeps some bits
        return Effect(4, source | target, target)
    if kind == 7:  # EXTR
        return Effect(4, source | _BITS[word >> 16 & 31], target)
    return Effect(4, source, target)


def _branch(word: int, address: int) -> Effect:
    if matches(word, "b"):
        return Effect(4, leads=Leads.JUMP, target=address + branch26(word))
    if matches(word, "bl"):
        return Effect(4, leads=Leads.CALL, target=address + branch26(word))
    if matches(word, "b_cond", "bc_cond"):
        return Effect(4, leads=Leads.BRANCH, target=address + branch19(word))
    if matches(word, "cbz", "cbnz"):
        return Effect(4, _BITS[word & 31], 0, Leads.BRANCH, address + branch19(word))
    if matches(word, "tbz", "tbnz"):
        return Effect(4, _BITS[word & 31], 0, Leads.BRANCH, address + imm14_displacement(word))
    if matches(word, "ret", "ret_auth", "eret", "eret_auth"):
        return Effect(4, leads=Leads.AWAY)
    if matches(word, "mrs"):
        return Effect(4, 0, _BITS[word & 31])
    if matches(word, "msr_reg"):
        return Effect(4, _BITS[word & 31])
    if matches(word, "hint", "msr_imm") or word >> 12 == 0xD5033:  # barriers
        return Effect(4)
    if word >> 21 == 0x6A1:  # BRK: WARN() goes on
        return Effect(4)
    return Effect(4, ALL)  # calls and jumps through registers for one


def _register(word: int) -> Effect:
    target, first, second = (_BITS[word >> shift & 31] for shift in (0, 5, 16))
    operation = word >> 21 & 15 | (word >> 28 & 1) << 4
    if operation >> 3 & 1 and operation >> 4:  # three sources
        return Effect(4, first | second | _BITS[word >> 10 & 31], target)
    if operation == 0b10010:  # CCMN, CCMP, with a register or an immediate
        return Effect(4, first | (0 if word >> 11 & 1 else second))
    if operation == 0b10110 and word >> 30 & 1:  # one source
        return Effect(4, first, target)
    return Effect(4, first | second, target)


def _memory(word: int) -> Effect:
    kind = word >> 27 & 7
    vector = word >> 26 & 1
    load = word >> 22 & 1
    base, moved = _BITS[word >> 5 & 31], _BITS[word & 31]
    if vector:
        by_register = word >> 27 & 7 == 7 and word >> 21 & 1
        return Effect(
            4, (0 if kind == 3 else base) | (_BITS[word >> 16 & 31] if by_register else 0)
        )
    if kind == 3 and not word >> 24 & 1:  # literals
        return Effect(4, 0, 0 if word >> 30 == 3 else moved)
    if kind == 5:  # pairs
        both = moved | _BITS[word >> 10 & 31]
        return Effect(4, base, both) if load else Effect(4, base | both)
    if kind == 7:
        return _one_register(word, base, moved)
    return Effect(4, ALL)  # exclusive ones and tags


def _one_register(word: int, base: int, moved: int) -> Effect:
    size, form = word >> 30, word >> 22 & 3
    reads = base
    if not word >> 24 & 1 and word >> 21 & 1:
        reads |= _BITS[word >> 16 & 31]
        if not word >> 10 & 3:  # atomic operations
            return Effect(4, reads, moved)
    if form == 0:
        return Effect(4, reads | moved)
    if size == 3 and form == 2:  # PRFM
        return Effect(4, reads)
    return Effect(4, reads, moved)
