"""What a trap means that a compiler has put in: UBSAN's, and those of kCFI.

The kernel finds the check in the trap itself (lib/ubsan.c since 6.2 on ARM64 and 6.13 on x86-64;
arch/*/kernel/cfi.c and traps.c).
"""

from __future__ import annotations

from kprobesim.arch.architecture import halves
from kprobesim.errors import GuestMemoryError
from kprobesim.machine.machine import Machine
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["CompilerChecks"]

# LLVM's numbers of them (enum SanitizerHandler); GCC has no traps that tell.
_UBSAN = (
    *("integer addition overflow", "execution reached an unreachable place", "CFI failure"),
    *("integer division overflow", "dynamic type mismatch", "float cast overflow"),
    *("function type mismatch", "implicit conversion changes the value", "invalid builtin use"),
    *("invalid cast", "load of an invalid value", "missing return"),
    *("integer multiplication overflow", "integer negation overflow", "nullability violation"),
    *("nullability violation", "NULL for a non-NULL argument", "NULL for a non-NULL result"),
    *("array index out of bounds", "pointer overflow", "shift out of bounds"),
    *("integer subtraction overflow", "type mismatch", "alignment assumption", "bad array size"),
)
# ud1 n(%eax), %eax; and ud2 behind: movl $-type, %r10d; addl -4(%target), %r10d; je 1f
_X86_UD1, _X86_UD1_0 = b"\x67\x0f\xb9\x40", b"\x67\x0f\xb9\x00"
_X86_UD2, _X86_KCFI, _X86_JE = b"\x0f\x0b", b"\x41\xba", b"\x74\x02"
_KCFI_BYTES = 12
# Immediates of BRK (arch/arm64/include/asm/brk-imm.h)
_ARM64_UBSAN, _ARM64_CFI, _ARM64_CFI_MASK = 0x5500, 0x8000, 0x3FF


class CompilerChecks:
    """Explains the traps of ``machine``."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def explain(self, trap: Trap, regs: PtRegs) -> str:
        """Which check has failed; "": the trap is of none."""
        return _EXPLAIN[self._machine.arch](self._machine, trap, regs)


def _explain_x86(machine: Machine, trap: Trap, regs: PtRegs) -> str:
    """By the code around the trap."""
    if trap.kind is not TrapKind.UNDEFINED:
        return ""
    try:
        code = machine.read_code(regs.ip - _KCFI_BYTES, _KCFI_BYTES + 5)
    except GuestMemoryError:
        return ""
    before, at = code[:_KCFI_BYTES], code[_KCFI_BYTES:]
    if at.startswith(_X86_UD1):
        return _ubsan(at[4])
    if at.startswith(_X86_UD1_0):
        return _ubsan(0)
    is_cfi = at.startswith(_X86_UD2) and before.startswith(_X86_KCFI)
    return _cfi() if is_cfi and before.endswith(_X86_JE) else ""


def _explain_arm64(_machine: Machine, trap: Trap, _regs: PtRegs) -> str:
    """By the immediate of the BRK."""
    if trap.kind is not TrapKind.BREAKPOINT:
        return ""
    number = trap.code & 0xFFFF
    if number & ~0xFF == _ARM64_UBSAN:
        return _ubsan(number & 0xFF)
    return _cfi() if number & ~_ARM64_CFI_MASK == _ARM64_CFI else ""


_EXPLAIN = halves(x86_64=_explain_x86, arm64=_explain_arm64)


def _ubsan(number: int) -> str:
    what = _UBSAN[number] if number < len(_UBSAN) else f"check {number}"
    return f"UBSAN: {what}"


def _cfi() -> str:
    return "CFI: the function that was to be called is of another type"
