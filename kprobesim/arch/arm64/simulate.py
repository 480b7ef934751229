"""Instructions that depend on where they run, done in Python.

Each builder takes a word and the address it stands at and returns a closure ``emulate(regs,
memory)`` with everything that can be known beforehand already worked out, because a closure runs at
every hit. It never reads ``regs.pc``. Semantics: arch/arm64/kernel/probes/simulate-insn.c (6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kprobesim.arch.arm64 import insn as fields
from kprobesim.arch.arm64.conditions import TAKEN
from kprobesim.arch.arm64.constants import PSR_BTYPE
from kprobesim.sizes import MASK64

__all__ = ["BRANCHES", "Emulate", "Memory", "Regs", "build"]

_ZR = 31
_LR = 30


class Regs(Protocol):
    """The registers a simulation touches; ``n`` is 0 to 30, values are unsigned."""

    pc: int
    pstate: int

    def gpr(self, n: int, /) -> int:
        """The register ``n``."""

    def set_gpr(self, n: int, value: int, /) -> None:
        """Set the register ``n``."""

    def set_v(self, n: int, value: int, size: int, /) -> None:
        """Load ``size`` bytes (4, 8, 16) into vector register ``n`` and zero the rest of it."""


class Memory(Protocol):
    """Little-endian loads from guest memory."""

    def read_u32(self, address: int, /) -> int:
        """Four bytes at ``address``."""

    def read_u64(self, address: int, /) -> int:
        """Eight bytes at ``address``."""


Emulate = Callable[[Regs, Memory], None]


def build(kind: str, word: int, address: int) -> Emulate:
    """The closure that does ``word``, found at ``address``; ``kind`` is ``emulate_kind(word)``."""
    return _BUILDERS[kind](word, address)


def _jump(target: int) -> Emulate:
    def emulate(regs: Regs, memory: Memory) -> None:
        regs.pc = target

    return emulate


def _b_bl(word: int, address: int) -> Emulate:
    target = address + fields.branch26(word) & MASK64
    if not word >> 31:
        return _jump(target)
    link = address + 4 & MASK64

    def emulate(regs: Regs, memory: Memory) -> None:
        regs.set_gpr(_LR, link)
        regs.pc = target

    return emulate


def _b_cond(word: int, address: int) -> Emulate:
    taken = address + fields.branch19(word) & MASK64
    following = address + 4 & MASK64
    targets = tuple(taken if yes else following for yes in TAKEN[fields.condition(word)])

    def emulate(regs: Regs, memory: Memory) -> None:
        regs.pc = targets[regs.pstate >> 28 & 0xF]

    return emulate


def _br_blr_ret(word: int, address: int) -> Emulate:
    number = fields.rn(word)
    links = word >> 21 & 3 == 1
    link = address + 4 & MASK64

    def emulate(regs: Regs, memory: Memory) -> None:
        # The target first: BLR X30 jumps to the old X30.
        target = regs.gpr(number) if number != _ZR else 0
        if links:
            regs.set_gpr(_LR, link)
        regs.pc = target

    return emulate


def _cbz_cbnz(word: int, address: int) -> Emulate:
    taken = address + fields.branch19(word) & MASK64
    following = address + 4 & MASK64
    return _branch_on(word, MASK64 if word >> 31 else 0xFFFF_FFFF, taken, following)


def _tbz_tbnz(word: int, address: int) -> Emulate:
    taken = address + fields.imm14_displacement(word) & MASK64
    following = address + 4 & MASK64
    return _branch_on(word, 1 << fields.test_bit(word), taken, following)


def _branch_on(word: int, mask: int, taken: int, following: int) -> Emulate:
    """Branch on the masked register Rt being zero, or, with bit 24 of the word, non-zero."""
    zero, nonzero = (following, taken) if word >> 24 & 1 else (taken, following)
    number = fields.rd(word)
    if number == _ZR:
        return _jump(zero)

    def emulate(regs: Regs, memory: Memory) -> None:
        regs.pc = nonzero if regs.gpr(number) & mask else zero

    return emulate


def _adr_adrp(word: int, address: int) -> Emulate:
    displacement = fields.adr_displacement(word)
    if word >> 31:
        value = (address & ~0xFFF) + (displacement << 12) & MASK64
    else:
        value = address + displacement & MASK64
    following = address + 4 & MASK64
    number = fields.rd(word)
    if number == _ZR:
        return _jump(following)

    def emulate(regs: Regs, memory: Memory) -> None:
        regs.set_gpr(number, value)
        regs.pc = following

    return emulate


def _ldr_literal(word: int, address: int) -> Emulate:
    source = address + fields.branch19(word) & MASK64
    following = address + 4 & MASK64
    number = fields.rd(word)
    wide = word >> 30 & 1

    def emulate(regs: Regs, memory: Memory) -> None:
        # The load happens even when XZR throws the value away: it may fault.
        value = memory.read_u64(source) if wide else memory.read_u32(source)
        if number != _ZR:
            regs.set_gpr(number, value)
        regs.pc = following

    return emulate


def _ldrsw_literal(word: int, address: int) -> Emulate:
    source = address + fields.branch19(word) & MASK64
    following = address + 4 & MASK64
    number = fields.rd(word)

    def emulate(regs: Regs, memory: Memory) -> None:
        value = memory.read_u32(source)
        if number != _ZR:
            regs.set_gpr(number, fields.sign_extend(value, 32) & MASK64)
        regs.pc = following

    return emulate


def _ldr_simd_literal(word: int, address: int) -> Emulate:
    source = address + fields.branch19(word) & MASK64
    second = source + 8 & MASK64
    following = address + 4 & MASK64
    number = fields.rd(word)
    size = 4 << (word >> 30)

    def emulate(regs: Regs, memory: Memory) -> None:
        value = memory.read_u32(source) if size == 4 else memory.read_u64(source)
        if size == 16:
            value |= memory.read_u64(second) << 64
        regs.set_v(number, value, size)
        regs.pc = following

    return emulate


def _nop(word: int, address: int) -> Emulate:
    following = address + 4 & MASK64

    def emulate(regs: Regs, memory: Memory) -> None:
        # Skipping an instruction also ends the branch that led to it.
        pstate = regs.pstate
        if pstate & PSR_BTYPE:
            regs.pstate = pstate & ~PSR_BTYPE
        regs.pc = following

    return emulate


BRANCHES = frozenset(("b_bl", "b_cond", "br_blr_ret", "cbz_cbnz", "tbz_tbnz"))
_BUILDERS: dict[str, Callable[[int, int], Emulate]] = {
    "adr_adrp": _adr_adrp,
    "b_bl": _b_bl,
    "b_cond": _b_cond,
    "br_blr_ret": _br_blr_ret,
    "cbz_cbnz": _cbz_cbnz,
    "ldr_literal": _ldr_literal,
    "ldr_simd_literal": _ldr_simd_literal,
    "ldrsw_literal": _ldrsw_literal,
    "nop": _nop,
    "tbz_tbnz": _tbz_tbnz,
}
