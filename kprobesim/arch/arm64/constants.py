"""Breakpoint immediates, their encodings and syndromes, and the PSTATE bits that probes touch."""

from __future__ import annotations

__all__ = [
    "BRK_KPROBE",
    "BRK_KPROBE_STEP",
    "BRK_KRETPROBE",
    "INSN_SIZE",
    "KPROBE_BRK_IMM",
    "KPROBE_STEP_BRK_IMM",
    "KRETPROBE_BRK_IMM",
    "PSR_BTYPE",
    "SLOT_SIZE",
    "brk",
    "brk_imm",
]

INSN_SIZE = 4
#: A slot is the copy and the breakpoint that ends the step.
SLOT_SIZE = 8

# arch/arm64/include/asm/brk-imm.h (the last one since about 6.13, which returns through a BRK).
KPROBE_BRK_IMM = 0x004
KPROBE_STEP_BRK_IMM = 0x006
KRETPROBE_BRK_IMM = 0x007

# PSTATE as SPSR_EL1 shows it (Arm ARM, C5.2.19).
PSR_BTYPE = 0x3 << 10

#: EC 0x3c (BRK from AArch64) with IL set; the immediate is the low half.

_BRK = 0xD420_0000
_BRK_MASK = 0xFFE0_001F


def brk(imm: int) -> int:
    """The instruction word of ``BRK #imm`` (16-bit ``imm``)."""
    return _BRK | (imm & 0xFFFF) << 5


def brk_imm(word: int) -> int | None:
    """The immediate of a ``BRK`` word, ``None`` for any other word."""
    return word >> 5 & 0xFFFF if word & _BRK_MASK == _BRK else None


BRK_KPROBE = brk(KPROBE_BRK_IMM)
BRK_KPROBE_STEP = brk(KPROBE_STEP_BRK_IMM)
BRK_KRETPROBE = brk(KRETPROBE_BRK_IMM)
