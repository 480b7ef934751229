"""Instructions that are carried out in the breakpoint handler instead of being stepped.

Near branches depend on where they stand, and instructions that read or write the interrupt or trap
flag on flags that stepping changes. :func:`emulator` turns one into a closure over its constants.
It does what the processor does at privilege level 0; ``strict`` asks for what the kernel does
instead (:mod:`kprobesim.arch.x86_64.quirks`).

Sources: the SDM, and prepare_emulation in arch/x86/kernel/kprobes/core.c.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.x86_64.constants import (
    CF,
    FIXED,
    IF,
    OF,
    PF,
    POPF_KEEPS,
    POPF_WRITES,
    PUSHF_SHOWS,
    SF,
    ZF,
)
from kprobesim.arch.x86_64.insn import Insn
from kprobesim.arch.x86_64.interfaces import Emulate, Memory, Registers
from kprobesim.arch.x86_64.quirks import STRICT_BUILDERS
from kprobesim.errors import GuestError
from kprobesim.sizes import MASK16, MASK32, MASK64

__all__ = ["emulate_kind", "emulator"]

_KINDS = (
    {
        0x9C: "push_flags",
        0x9D: "pop_flags",
        0xC2: "ret",
        0xC3: "ret",
        0xCA: "far_ret",
        0xCB: "far_ret",
        0xE3: "jcxz",
        0xE8: "call",
        0xE9: "jmp",
        0xEB: "jmp",
        0xFA: "cli",
        0xFB: "sti",
    }
    | dict.fromkeys(range(0x70, 0x80), "jcc")
    | dict.fromkeys(range(0xE0, 0xE3), "loop")
)
_INDIRECT_KINDS = {2: "call_reg", 4: "jmp_reg"}

_SIMPLE_CONDITIONS = {0: OF, 1: CF, 2: ZF, 3: CF | ZF, 4: SF, 5: PF}


def emulate_kind(insn: Insn, *, strict: bool = False) -> str | None:
    """The kind of emulation that an instruction needs, or None if it is stepped.

    ``strict`` takes a VEX or EVEX instruction for the one-byte opcode of the same value, as the
    kernel does (``vzeroupper``, opcode 77, then passes for a ``ja``).
    """
    if insn.vex is not None and not strict:
        return None
    opcode = insn.opcode[0]
    if opcode == 0x0F:
        return "jcc" if len(insn.opcode) == 2 and insn.opcode[1] & 0xF0 == 0x80 else None
    if opcode == 0xFF:
        return _INDIRECT_KINDS.get(insn.reg) if insn.is_register_form else None
    return _KINDS.get(opcode)


def emulator(insn: Insn, address: int, kind: str, *, strict: bool = False) -> Emulate:
    """The closure that carries out ``insn``, which stands at ``address``.

    It may raise ``GuestMemoryError`` (stack not mapped), and then has changed no register.
    """
    if strict and kind in STRICT_BUILDERS:
        return STRICT_BUILDERS[kind](insn, address)
    return _BUILDERS[kind](insn, address)


def _next(insn: Insn, address: int) -> int:
    return (address + insn.length) & MASK64


def _target(insn: Insn, address: int) -> int:
    return (address + insn.length + insn.imm) & MASK64


def _jmp(insn: Insn, address: int) -> Emulate:
    target = _target(insn, address)

    def emulate(regs: Registers, memory: Memory) -> None:
        regs.ip = target

    return emulate


def _jcc(insn: Insn, address: int) -> Emulate:
    condition = insn.opcode[-1] & 0xF
    # An odd condition is the negation of the even one before it.
    taken, other = _target(insn, address), _next(insn, address)
    if condition & 1:
        taken, other = other, taken
    mask = _SIMPLE_CONDITIONS.get(condition >> 1)
    if mask is not None:

        def simple(regs: Registers, memory: Memory) -> None:
            regs.ip = taken if regs.flags & mask else other

        return simple
    zero = ZF if condition >> 1 == 7 else 0

    def signed(regs: Registers, memory: Memory) -> None:
        flags = regs.flags
        # OF is four bits above SF.
        regs.ip = taken if (flags ^ flags >> 4) & SF or flags & zero else other

    return signed


def _loop(insn: Insn, address: int) -> Emulate:
    taken, other = _target(insn, address), _next(insn, address)
    mask = MASK64 if insn.addr_bytes == 8 else MASK32
    # E0 wants ZF clear, E1 wants it set, E2 does not look.
    look, want = {0xE0: (ZF, 0), 0xE1: (ZF, ZF), 0xE2: (0, 0)}[insn.opcode[0]]

    def emulate(regs: Registers, memory: Memory) -> None:
        count = (regs.cx - 1) & mask
        regs.cx = count
        regs.ip = taken if count and regs.flags & look == want else other

    return emulate


def _jcxz(insn: Insn, address: int) -> Emulate:
    taken, other = _target(insn, address), _next(insn, address)
    mask = MASK64 if insn.addr_bytes == 8 else MASK32

    def emulate(regs: Registers, memory: Memory) -> None:
        regs.ip = other if regs.cx & mask else taken

    return emulate


def _call(insn: Insn, address: int) -> Emulate:
    target, after = _target(insn, address), _next(insn, address)

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = (regs.sp - 8) & MASK64
        memory.write_u64(sp, after)
        regs.sp = sp
        regs.ip = target

    return emulate


def _call_reg(insn: Insn, address: int) -> Emulate:
    number, after = insn.rm_register, _next(insn, address)

    def emulate(regs: Registers, memory: Memory) -> None:
        target = regs.gpr(number)
        sp = (regs.sp - 8) & MASK64
        memory.write_u64(sp, after)
        regs.sp = sp
        regs.ip = target

    return emulate


def _jmp_reg(insn: Insn, address: int) -> Emulate:
    number = insn.rm_register

    def emulate(regs: Registers, memory: Memory) -> None:
        regs.ip = regs.gpr(number)

    return emulate


def _ret(insn: Insn, address: int) -> Emulate:
    drop = 8 + (insn.imm & MASK16)

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = regs.sp
        regs.ip = memory.read_u64(sp)
        regs.sp = (sp + drop) & MASK64

    return emulate


def _far_ret(insn: Insn, address: int) -> Emulate:
    size = insn.opnd_bytes
    drop = 2 * size + (insn.imm & MASK16)

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = regs.sp
        ip = _read(memory, sp, size)
        selector = _read(memory, (sp + size) & MASK64, size) & MASK16
        if selector != regs.cs:
            raise GuestError(
                f"the probed far return at {address:#x} changes the code segment from "
                f"{regs.cs:#x} to {selector:#x}, which is not emulated; do not probe it"
            )
        regs.sp = (sp + drop) & MASK64
        regs.ip = ip

    return emulate


def _cli(insn: Insn, address: int) -> Emulate:
    after = _next(insn, address)

    def emulate(regs: Registers, memory: Memory) -> None:
        regs.flags &= ~IF
        regs.ip = after

    return emulate


def _sti(insn: Insn, address: int) -> Emulate:
    after = _next(insn, address)

    def emulate(regs: Registers, memory: Memory) -> None:
        regs.flags |= IF
        regs.ip = after

    return emulate


def _push_flags(insn: Insn, address: int) -> Emulate:
    after = _next(insn, address)
    if insn.opnd_bytes == 2:

        def push16(regs: Registers, memory: Memory) -> None:
            sp = (regs.sp - 2) & MASK64
            _write16(memory, sp, regs.flags & MASK16)
            regs.sp = sp
            regs.ip = after

        return push16

    def push64(regs: Registers, memory: Memory) -> None:
        sp = (regs.sp - 8) & MASK64
        memory.write_u64(sp, regs.flags & PUSHF_SHOWS)
        regs.sp = sp
        regs.ip = after

    return push64


def _pop_flags(insn: Insn, address: int) -> Emulate:
    after = _next(insn, address)
    size = 2 if insn.opnd_bytes == 2 else 8
    # RF is the one bit that POPF neither loads nor keeps: it clears it.
    writes, keeps = POPF_WRITES, POPF_KEEPS
    if size == 2:
        writes, keeps = POPF_WRITES & MASK16, POPF_KEEPS | POPF_WRITES & ~MASK16

    def emulate(regs: Registers, memory: Memory) -> None:
        sp = regs.sp
        value = _read(memory, sp, size)
        regs.flags = value & writes | regs.flags & keeps | FIXED
        regs.sp = (sp + size) & MASK64
        regs.ip = after

    return emulate


def _read(memory: Memory, address: int, size: int) -> int:
    """2, 4 or 8 bytes, touching no other aligned quadword than those they lie in."""
    if size == 8:
        return memory.read_u64(address)
    base, shift = address & ~7, (address & 7) * 8
    value = memory.read_u64(base) >> shift
    if shift + size * 8 > 64:
        value |= memory.read_u64((base + 8) & MASK64) << (64 - shift)
    return value & ((1 << size * 8) - 1)


def _write16(memory: Memory, address: int, value: int) -> None:
    base, shift = address & ~7, (address & 7) * 8
    low = memory.read_u64(base)
    if shift == 56:
        above = (base + 8) & MASK64
        memory.write_u64(above, memory.read_u64(above) & ~0xFF | value >> 8)
    memory.write_u64(base, (low & ~(MASK16 << shift) | value << shift) & MASK64)


_BUILDERS: dict[str, Callable[[Insn, int], Emulate]] = {
    "call": _call,
    "call_reg": _call_reg,
    "cli": _cli,
    "far_ret": _far_ret,
    "jcc": _jcc,
    "jcxz": _jcxz,
    "jmp": _jmp,
    "jmp_reg": _jmp_reg,
    "loop": _loop,
    "pop_flags": _pop_flags,
    "push_flags": _push_flags,
    "ret": _ret,
    "sti": _sti,
}
