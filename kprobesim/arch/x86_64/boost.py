"""Which copied instructions may run with a jump behind them instead of a trap (can_boost)."""

from __future__ import annotations

from kprobesim.arch.x86_64.insn import Insn
from kprobesim.arch.x86_64.opcodes import (
    BOOSTABLE_BEFORE_5_13,
    BOOSTABLE_GROUPS,
    BOOSTABLE_TWO_BYTE,
    UNBOOSTABLE,
)

__all__ = ["UNBOOSTABLE_PREFIXES", "can_boost"]

#: CS override and address size.
UNBOOSTABLE_PREFIXES = frozenset({0x2E, 0x67})

_INDIRECT_JUMP = (0xFF, 4)


def can_boost(
    insn: Insn,
    *,
    has_exception_entry: bool = False,
    wide_table: bool = True,
    group_boost: bool = True,
    unboostable_prefixes: frozenset[int] = UNBOOSTABLE_PREFIXES,
) -> bool:
    """Whether the kernel would let this instruction run from a slot without a trap behind it.

    The optimizer asks the same of every instruction that it copies. As in the kernel, the opcode
    of a VEX or EVEX instruction is looked up among the one-byte opcodes: that only ever costs
    speed, never correctness, for a vector instruction neither branches nor depends on its place.
    ``wide_table`` is that of 5.13 and later; ``group_boost``: since 6.9 most shifts, unary
    arithmetic, INC and DEC may. (arch/x86/kernel/kprobes/core.c, Linux 6.1, 5.10)
    """
    if has_exception_entry:
        return False
    opcode = insn.opcode
    if len(opcode) == 2:
        return opcode[1] in BOOSTABLE_TWO_BYTE
    if len(opcode) == 3:
        return False
    if not unboostable_prefixes.isdisjoint(insn.prefixes):
        return False
    if not wide_table:
        return opcode[0] in BOOSTABLE_BEFORE_5_13
    group = BOOSTABLE_GROUPS.get(opcode[0])
    if group is not None:
        return insn.reg in group if group_boost else (opcode[0], insn.reg) == _INDIRECT_JUMP
    return opcode[0] not in UNBOOSTABLE
