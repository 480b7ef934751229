"""Which copied instructions may run with a jump behind them instead of a trap (can_boost)."""

from __future__ import annotations

from kprobesim.arch.x86_64.insn import Insn
from kprobesim.arch.x86_64.opcodes import BOOSTABLE_GROUPS, BOOSTABLE_TWO_BYTE, UNBOOSTABLE

__all__ = ["GROUP_BOOST_SINCE", "can_boost"]

#: The first version with ``group_boost``.
GROUP_BOOST_SINCE = (6, 9)

_INDIRECT_JUMP = (0xFF, 4)


def can_boost(insn: Insn, *, has_exception_entry: bool = False, group_boost: bool = True) -> bool:
    """Whether the kernel would let this instruction run from a slot without a trap behind it.

    The optimizer asks the same of every instruction that it copies. As in the kernel, the opcode
    of a VEX or EVEX instruction is looked up among the one-byte opcodes: that only ever costs
    speed, never correctness, for a vector instruction neither branches nor depends on its place.
    ``group_boost``: since 6.9 most shifts, unary arithmetic, INC and DEC may. (can_boost() of
    arch/x86/kernel/kprobes/core.c)
    """
    if has_exception_entry:
        return False
    opcode = insn.opcode
    if len(opcode) == 2:
        return opcode[1] in BOOSTABLE_TWO_BYTE
    if len(opcode) == 3:
        return False
    if insn.addr_bytes != 8 or 0x2E in insn.prefixes:
        return False
    group = BOOSTABLE_GROUPS.get(opcode[0])
    if group is not None:
        return insn.reg in group if group_boost else (opcode[0], insn.reg) == _INDIRECT_JUMP
    return opcode[0] not in UNBOOSTABLE
