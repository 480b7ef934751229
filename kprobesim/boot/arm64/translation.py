"""The guest's own page tables, walked by the host: stage 1, EL1, 4 KiB granule (Arm ARM D8)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

from kprobesim.machine.engine import Engine

__all__ = ["walker"]

# (CRn, CRm, op0, op1, op2)
_SCTLR_EL1 = (1, 0, 3, 0, 0)
_TTBR0_EL1 = (2, 0, 3, 0, 0)
_TTBR1_EL1 = (2, 0, 3, 0, 1)
_TCR_EL1 = (2, 0, 3, 0, 2)

_BASE = 0x0000_FFFF_FFFF_F000
_VALID, _TABLE = 1, 2
_PXN = 1 << 53
_STRIDE = 9


def walker(engine: Engine, ram: mmap.mmap, base: int) -> Callable[[int], tuple[int, bool] | None]:
    """A function that translates as the MMU does now: identically while it is off."""

    def translate(address: int) -> tuple[int, bool] | None:
        if not engine.read_system(*_SCTLR_EL1) & 1:
            return address, True
        control = engine.read_system(*_TCR_EL1)
        high = address >> 55 & 1
        bits = 64 - (control >> (16 if high else 0) & 0x3F)
        if address >> bits != (((1 << 64 - bits) - 1) if high else 0):
            return None
        table = engine.read_system(*(_TTBR1_EL1 if high else _TTBR0_EL1)) & _BASE & ~1
        level = 4 - -(-(bits - 12) // _STRIDE)
        executable = True
        while level < 4:
            shift = 12 + _STRIDE * (3 - level)
            index = address >> shift & ((1 << min(_STRIDE, bits - shift)) - 1)
            at = table - base + 8 * index
            if not 0 <= at <= len(ram) - 8:
                return None
            (entry,) = struct.unpack_from("<Q", ram, at)
            if not entry & _VALID:
                return None
            if level == 3 or not entry & _TABLE:
                if level == 3 and not entry & _TABLE:
                    return None
                offset = address & ((1 << shift) - 1)
                executable = executable and not entry & _PXN
                return (entry & _BASE & ~((1 << shift) - 1)) + offset, executable
            executable = executable and not entry >> 59 & 1  # PXNTable
            table = entry & _BASE
            level += 1
        return None

    return translate
