"""Pointer authentication with keys that nobody has switched on.

A kernel compiled for ARMv8.3 and later signs return addresses by instructions that are no hints, so
that the Cortex-A72 of the machine knows them not. Boot gives each task its keys; as long as
SCTLR_EL1.EnIA and its kind are 0 the instructions leave their pointers as they are (Arm ARM,
D8.10), and so they do here.
"""

from __future__ import annotations

from kprobesim.arch.arm64.insn import Pattern, rd, rn, sign_extend
from kprobesim.errors import GuestMemoryError
from kprobesim.machine.machine import Machine
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.sizes import MASK64

__all__ = ["PointerAuth"]

_RET = Pattern(0xFFFF_FBFF, 0xD65F_0BFF)  # RETAA, RETAB
_BRANCH = Pattern(0xFEFF_F800, 0xD61F_0800)  # BRAA, BRABZ ...
_CALL = Pattern(0xFEFF_F800, 0xD63F_0800)  # BLRAA, BLRABZ ...
_SIGN = Pattern(0xFFFF_C000, 0xDAC1_0000)  # PACIA to AUTDZB, which leave what they are given
_STRIP = Pattern(0xFFFF_FBE0, 0xDAC1_43E0)  # XPACI, XPACD
_LOAD = Pattern(0xFF20_0400, 0xF820_0400)  # LDRAA, LDRAB
_LINK, _SP = 30, 31
_ADDRESS_BITS = 56  # bit 55 tells which half of the addresses a pointer is of


class PointerAuth:
    """Executes such instructions for ``machine``."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def handle(self, trap: Trap, regs: PtRegs) -> bool:
        """Do what the instruction does that is undefined to the CPU; false: it is another."""
        if trap.kind is not TrapKind.UNDEFINED:
            return False
        try:
            word = int.from_bytes(self._machine.read_code(regs.ip, 4), "little")
        except GuestMemoryError:
            return False
        following = regs.ip + 4
        if word & _RET.mask == _RET.value:
            regs.ip = regs.gpr(_LINK)
        elif word & _BRANCH.mask == _BRANCH.value:
            regs.ip = regs.gpr(rn(word))
        elif word & _CALL.mask == _CALL.value:
            target = regs.gpr(rn(word))
            regs.set_gpr(_LINK, following)
            regs.ip = target
        elif word & _SIGN.mask == _SIGN.value:
            regs.ip = following
        elif word & _STRIP.mask == _STRIP.value:
            pointer = sign_extend(regs.gpr(rd(word)), _ADDRESS_BITS)
            regs.set_gpr(rd(word), pointer & MASK64)
            regs.ip = following
        elif word & _LOAD.mask == _LOAD.value:
            return self._load(word, regs, following)
        else:
            return False
        return True

    def _load(self, word: int, regs: PtRegs, following: int) -> bool:
        """LDRAA Xt, [Xn|SP, #imm]{!}; one that faults is left undefined."""
        offset = sign_extend(word >> 12 & 0x1FF | word >> 13 & 0x200, 10) * 8
        base = rn(word)
        address = (regs.sp if base == _SP else regs.gpr(base)) + offset & MASK64
        try:
            value = self._machine.memory.read_u64(address)
        except GuestMemoryError:
            return False
        if word & 1 << 11:
            if base == _SP:
                regs.sp = address
            else:
                regs.set_gpr(base, address)
        if rd(word) != _SP:
            regs.set_gpr(rd(word), value)
        regs.ip = following
        return True
