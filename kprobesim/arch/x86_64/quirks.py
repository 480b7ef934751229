"""Where the kernel's emulation differs from the processor; only ``strict=True`` comes here.

Read in arch/x86/kernel/kprobes/core.c of Linux 6.1 (the same in 6.16), and seen in a running 6.1:
``ret imm16`` loses its immediate, ``loop`` runs once too often.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.x86_64.constants import CALL_SIZE, ZF
from kprobesim.arch.x86_64.insn import Insn
from kprobesim.arch.x86_64.interfaces import Emulate, Memory, Registers
from kprobesim.sizes import MASK32, MASK64

__all__ = ["STRICT_BUILDERS"]


def _ret(insn: Insn, address: int) -> Emulate:
    """Every return pops eight bytes: no immediate, no code selector."""

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = regs.sp
        regs.ip = memory.read_u64(sp)
        regs.sp = (sp + 8) & MASK64

    return emulate


def _call(insn: Insn, address: int) -> Emulate:
    """The return address is five bytes on, also for a call with prefixes."""
    after = (address + CALL_SIZE) & MASK64
    target = (address + insn.length + insn.imm) & MASK64

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = (regs.sp - 8) & MASK64
        memory.write_u64(sp, after)
        regs.sp = sp
        regs.ip = target

    return emulate


def _call_reg(insn: Insn, address: int) -> Emulate:
    """The push comes first, so that ``call *%rsp`` goes to the new stack pointer."""
    number, after = insn.rm_register, (address + insn.length) & MASK64

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = (regs.sp - 8) & MASK64
        memory.write_u64(sp, after)
        regs.sp = sp
        regs.ip = regs.gpr(number)

    return emulate


def _loop(insn: Insn, address: int) -> Emulate:
    """The counter is tested before it is decremented; a 32-bit one keeps the upper half of rcx."""
    target, after = (address + insn.length + insn.imm) & MASK64, (address + insn.length) & MASK64
    mask = MASK64 if insn.addr_bytes == 8 else MASK32
    look, want = {0xE0: (ZF, 0), 0xE1: (ZF, ZF), 0xE2: (0, 0)}[insn.opcode[0]]

    def emulate(regs: Registers, memory: Memory) -> None:
        cx = regs.cx
        regs.cx = cx & ~mask | (cx - 1) & mask
        regs.ip = target if cx & mask and regs.flags & look == want else after

    return emulate


def _push_flags(insn: Insn, address: int) -> Emulate:
    """The saved flags as they are, always eight bytes."""
    after = (address + insn.length) & MASK64

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = (regs.sp - 8) & MASK64
        memory.write_u64(sp, regs.flags)
        regs.sp = sp
        regs.ip = after

    return emulate


def _pop_flags(insn: Insn, address: int) -> Emulate:
    """Any bit can be loaded, always from eight bytes."""
    after = (address + insn.length) & MASK64

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = regs.sp
        regs.flags = memory.read_u64(sp)
        regs.sp = (sp + 8) & MASK64
        regs.ip = after

    return emulate


STRICT_BUILDERS: dict[str, Callable[[Insn, int], Emulate]] = {
    "call": _call,
    "call_reg": _call_reg,
    "far_ret": _ret,
    "loop": _loop,
    "pop_flags": _pop_flags,
    "push_flags": _push_flags,
    "ret": _ret,
}
