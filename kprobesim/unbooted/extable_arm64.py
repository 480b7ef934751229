"""Exception table fix-ups of ARM64 (arch/arm64/mm/extable.c, 5.10 to 6.17)."""

from __future__ import annotations

import errno

from kprobesim.image import ExceptionEntry, KernelImage
from kprobesim.machine.memory import GuestMemory
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap

__all__ = ["fix_up_arm64"]

_XZR = 31


def fix_up_arm64(
    image: KernelImage,
    memory: GuestMemory,
    read_code: object,
    entry: ExceptionEntry,
    trap: Trap,
    regs: PtRegs,
) -> bool:
    """Do what the entry's type says and go on at its fix-up address; always handled.

    EX_TYPE_* were renumbered in 5.19 (FIXUP went) and again when UACCESS_CPY came before
    LOAD_UNALIGNED_ZEROPAD, which then is 5.
    """
    shift = 1 if image.version and image.version < (5, 19) else 0
    kind = (entry.type or 0) - shift
    first, second = entry.data & 31, entry.data >> 5 & 31
    if kind in (2, 3):  # UACCESS_ERR_ZERO, KACCESS_ERR_ZERO
        _set(regs, first, -errno.EFAULT)
        _set(regs, second, 0)
    elif kind in (4, 5) and kind == max(e.type or 0 for e in image.exception_table) - shift:
        address = regs.gpr(second) if second != _XZR else 0
        word = memory.read_u64(address & ~7)
        _set(regs, first, word >> 8 * (address & 7))
    regs.ip = entry.fixup
    return True


def _set(regs: PtRegs, number: int, value: int) -> None:
    if number != _XZR:
        regs.set_gpr(number, value)
