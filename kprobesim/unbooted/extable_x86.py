"""Exception table fix-ups of x86-64 (arch/x86/mm/extable.c, 5.10 to 6.17)."""

from __future__ import annotations

import errno

from kprobesim.arch.x86_64.boundary import Read, read_insn
from kprobesim.image import ExceptionEntry, KernelImage
from kprobesim.machine.memory import GuestMemory
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap
from kprobesim.sizes import MASK64

__all__ = ["fix_up_x86"]

# EX_TYPE_* of arch/x86/include/asm/extable_fixup_types.h
_FAULT, _COPY, _RDMSR, _WRMSR_SAFE, _RDMSR_SAFE, _RDMSR_IN_MCE = 2, 4, 9, 10, 11, 13
_FAULT_MCE_SAFE, _POP_REG, _IMM_REG, _FAULT_SGX, _UCOPY_LEN, _ZEROPAD = 15, 16, 17, 18, 19, 20
_CLEAR_AX, _CLEAR_DX = 1, 2
_SGX_FAULT = 0x4000_0000

# Before 5.16 an entry names a handler function; these do more than go to the fix-up.
_HANDLERS = {
    "ex_handler_fault": _FAULT,
    "ex_handler_copy": _COPY,
    "ex_handler_rdmsr_unsafe": _RDMSR,
    "ex_handler_sgx": _FAULT_SGX,
}

_AX, _CX, _DX, _SP = 0, 1, 2, 4


def fix_up_x86(
    image: KernelImage,
    memory: GuestMemory,
    read_code: Read,
    entry: ExceptionEntry,
    trap: Trap,
    regs: PtRegs,
) -> bool:
    """Do what the entry's type says and go on at its fix-up address; always handled.

    ``read_code`` gives code as it is without probes.
    """
    kind = entry.type
    if kind is None:
        found = image.symbols.at(entry.handler) if entry.handler else None
        kind = _HANDLERS.get(found.symbol.name, 1) if found else 1
    flags = entry.data >> 12 & 0xF
    register = entry.data >> 8 & 0xF
    immediate = entry.data >> 16  # the word is signed
    if kind in (_FAULT, _COPY, _FAULT_MCE_SAFE):
        regs.set_gpr(_AX, trap.number)
    elif kind == _FAULT_SGX:
        regs.set_gpr(_AX, trap.number | _SGX_FAULT)
    elif kind in (_RDMSR, _RDMSR_IN_MCE):
        regs.set_gpr(_AX, 0)
        regs.set_gpr(_DX, 0)
    elif kind in (_WRMSR_SAFE, _RDMSR_SAFE):
        regs.set_gpr(register, -errno.EIO)
    elif kind in (_POP_REG, _IMM_REG):
        if kind == _POP_REG:
            regs.sp = regs.sp + 8
        regs.set_gpr(register, immediate)
    elif kind == _UCOPY_LEN:
        regs.set_gpr(_CX, immediate * regs.gpr(_CX) + regs.gpr(register))
    elif kind == _ZEROPAD:
        _load_unaligned_zeropad(memory, read_code, regs)
    if flags & _CLEAR_AX:
        regs.set_gpr(_AX, 0)
    if flags & _CLEAR_DX:
        regs.set_gpr(_DX, 0)
    regs.ip = entry.fixup
    return True


def _load_unaligned_zeropad(memory: GuestMemory, read_code: Read, regs: PtRegs) -> None:
    """A word load across the end of what is mapped: the missing bytes are zero."""
    import capstone  # a tenth of the time that a snapshot takes to go on, and rarely needed

    code = read_insn(read_code, regs.ip).raw
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    insn = next(decoder.disasm(code, regs.ip))
    target, source = insn.operands[0], insn.operands[1].mem
    address = source.disp
    for part, scale in ((source.base, 1), (source.index, source.scale)):
        if part:
            address += _register(insn.reg_name(part), regs) * scale
    address &= MASK64
    word = memory.read_u64(address & ~7)
    _set_register(insn.reg_name(target.reg), regs, word >> 8 * (address & 7))


def _field(name: str) -> str:
    return "r" + name[1:] if name[1:].isdigit() else name[1:]


def _register(name: str, regs: PtRegs) -> int:
    return int(getattr(regs, _field(name)))


def _set_register(name: str, regs: PtRegs, value: int) -> None:
    setattr(regs, _field(name), value)
