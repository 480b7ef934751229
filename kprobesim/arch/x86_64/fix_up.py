"""What a branch or a flag push that ran in the slot left behind, put right after the trap.

Before 5.13 the kernel emulated nothing: every instruction ran as a copy under the trap flag, and
resume_execution() (arch/x86/kernel/kprobes/core.c, 5.10) corrected where it ended and what it had
pushed.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.x86_64.constants import IF, TF
from kprobesim.arch.x86_64.insn import Insn
from kprobesim.arch.x86_64.interfaces import Memory, Registers
from kprobesim.sizes import MASK64

__all__ = ["FixUp", "fix_up", "goes_anywhere"]

FixUp = Callable[[Registers, Memory, int], None]
"""``fix_up(regs, memory, old_flags)``: ``old_flags`` has TF and IF as they were at the hit."""

_RETURNS = (0xC2, 0xC3, 0xCA, 0xCB, 0xCF, 0xEA)
_PUSHF, _CALL = 0x9C, 0xE8
_SET_IF = (0xFA, 0xFB, 0xCF, 0x9D)  # cli, sti, iret, popf


def goes_anywhere(insn: Insn) -> bool:
    """Whether it ends at an absolute address and pushes nothing: ``ret``, ``iret``, ``jmp *``.

    The kernel finds out at the first step that such an instruction can be boosted.
    """
    opcode = _opcode(insn)
    return opcode in _RETURNS or (opcode == 0xFF and insn.reg in (4, 5))


def fix_up(insn: Insn, address: int, slot: int) -> FixUp:
    """What to do after ``insn`` of ``address`` has been stepped in ``slot``."""
    opcode = _opcode(insn)
    distance = address - slot
    restored = TF if opcode in _SET_IF else TF | IF
    calls = opcode == _CALL or (opcode == 0xFF and insn.reg in (2, 3))
    absolute = goes_anywhere(insn) or (opcode == 0xFF and insn.reg in (2, 3))
    pushes_flags = opcode == _PUSHF

    def fix(regs: Registers, memory: Memory, old_flags: int) -> None:
        if pushes_flags:
            sp = regs.sp
            memory.write_u64(sp, memory.read_u64(sp) & ~(TF | IF) | old_flags)
        elif calls:
            sp = regs.sp
            memory.write_u64(sp, (memory.read_u64(sp) + distance) & MASK64)
        if not absolute:
            regs.ip = (regs.ip + distance) & MASK64
        regs.flags = regs.flags & ~TF | old_flags & restored

    return fix


def _opcode(insn: Insn) -> int:
    """The opcode byte; 0 for a vector instruction, which is none of these."""
    return 0 if insn.vex is not None else insn.opcode[0]
