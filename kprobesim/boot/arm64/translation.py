"""The guest's own page tables, walked by the host: stage 1 of EL1 (Arm ARM D8)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

from kprobesim.machine.unicorn.control_words import control_words
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["walker"]

_ADDRESS = 0x0000_FFFF_FFFF_FFFF
_VALID, _TABLE = 1, 2
_TBI0, _TBI1, _TAG = 37, 38, 0xFF << 56  # TCR_EL1: the top byte of an address is not looked at
_PXN, _PXN_TABLE = 1 << 53, 1 << 59
_BLOCKS = {12: 1, 14: 2, 16: 2}  # the first level with blocks
_GRAIN_0, _GRAIN_1 = (12, 16, 14, 0), (0, 14, 12, 16)  # TCR_EL1.TG0 and TG1, as shifts


def walker(engine: Engine, ram: mmap.mmap, base: int) -> Callable[[int], tuple[int, bool] | None]:
    """A function that translates as the MMU does now: identically while it is off."""
    words = control_words(engine)
    sctlr, tcr, roots = words["sctlr"], words["tcr"], (words["ttbr0"], words["ttbr1"])

    def translate(address: int) -> tuple[int, bool] | None:
        if not sctlr.value & 1:
            return address, True
        control = tcr.value
        high = address >> 55 & 1
        if control >> (_TBI1 if high else _TBI0) & 1:
            address = address | _TAG if high else address & ~_TAG
        bits = 64 - (control >> (16 if high else 0) & 0x3F)
        grain = _GRAIN_1[control >> 30 & 3] if high else _GRAIN_0[control >> 14 & 3]
        if address >> bits != (((1 << 64 - bits) - 1) if high else 0) or not grain:
            return None
        base_mask = _ADDRESS & -(1 << grain)
        stride = grain - 3
        table = roots[high].value & _ADDRESS & ~1
        level = 4 - -(-(bits - grain) // stride)
        executable = True
        while level < 4:
            shift = grain + stride * (3 - level)
            index = address >> shift & ((1 << min(stride, bits - shift)) - 1)
            at = table - base + 8 * index
            if not 0 <= at <= len(ram) - 8:
                return None
            (entry,) = struct.unpack_from("<Q", ram, at)
            if not entry & _VALID or (level == 3 and not entry & _TABLE):
                return None
            if level == 3 or not entry & _TABLE:
                if level < _BLOCKS[grain]:
                    return None
                offset = address & ((1 << shift) - 1)
                return (entry & _ADDRESS & -(1 << shift)) + offset, executable and not entry & _PXN
            executable = executable and not entry & _PXN_TABLE
            table = entry & base_mask
            level += 1
        return None

    return translate
