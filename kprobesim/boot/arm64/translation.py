"""The guest's own page tables, walked by the host: stage 1 of EL1 (Arm ARM D8)."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import NamedTuple

from kprobesim.machine.unicorn.control_words import control_words
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["walker"]

_ADDRESS = 0x0000_FFFF_FFFF_FFFF
_VALID, _TABLE = 1, 2
_TBI0, _TBI1, _TAG = 37, 38, 0xFF << 56  # TCR_EL1: the top byte of an address is not looked at
_PXN, _PXN_TABLE = 1 << 53, 1 << 59
_BLOCKS = {12: 1, 14: 2, 16: 2}  # the first level with blocks
_GRAIN_0, _GRAIN_1 = (12, 16, 14, 0), (0, 14, 12, 16)  # TCR_EL1.TG0 and TG1, as shifts


class _Regime(NamedTuple):
    """What TCR_EL1 says of one half of the addresses.

    Attributes:
        tags: Whether the top byte of an address is not looked at.
        bits: How many of an address are translated.
        prefix: What those above must be; nothing can be -1.
        table_mask: The bits of an entry that are a table's address.
        first_block: The first level with blocks.
        levels: Number, shift and mask of the index, of each level.
    """

    tags: bool
    bits: int
    prefix: int
    table_mask: int
    first_block: int
    levels: tuple[tuple[int, int, int], ...]


def _regime(control: int, high: int) -> _Regime:
    bits = 64 - (control >> (16 if high else 0) & 0x3F)
    grain = _GRAIN_1[control >> 30 & 3] if high else _GRAIN_0[control >> 14 & 3]
    tags = bool(control >> (_TBI1 if high else _TBI0) & 1)
    if not grain:
        return _Regime(tags, bits, -1, 0, 0, ())
    stride = grain - 3
    levels = []
    for level in range(4 - -(-(bits - grain) // stride), 4):
        shift = grain + stride * (3 - level)
        levels.append((level, shift, (1 << min(stride, bits - shift)) - 1))
    prefix = (1 << 64 - bits) - 1 if high else 0
    return _Regime(tags, bits, prefix, _ADDRESS & -(1 << grain), _BLOCKS[grain], tuple(levels))


def walker(engine: Engine, ram: mmap.mmap, base: int) -> Callable[[int], tuple[int, bool] | None]:
    """A function that translates as the MMU does now: identically while it is off."""
    words = control_words(engine)
    sctlr, tcr, roots = words["sctlr"], words["tcr"], (words["ttbr0"], words["ttbr1"])
    entries = memoryview(ram).cast("Q")
    most = len(entries)
    known: dict[tuple[int, int], _Regime] = {}

    def translate(address: int) -> tuple[int, bool] | None:
        if not sctlr.value & 1:
            return address, True
        control, high = tcr.value, address >> 55 & 1
        regime = known.get((control, high))
        if regime is None:
            regime = known[control, high] = _regime(control, high)
        tags, bits, prefix, table_mask, first_block, levels = regime
        if tags:
            address = address | _TAG if high else address & ~_TAG
        if address >> bits != prefix:
            return None
        table = roots[high].value & _ADDRESS & ~1
        executable = True
        for level, shift, mask in levels:
            at = (table - base >> 3) + (address >> shift & mask)
            if not 0 <= at < most:
                return None
            entry = entries[at]
            if not entry & _VALID or (level == 3 and not entry & _TABLE):
                return None
            if level == 3 or not entry & _TABLE:
                if level < first_block:
                    return None
                offset = address & ((1 << shift) - 1)
                return (entry & _ADDRESS & -(1 << shift)) + offset, executable and not entry & _PXN
            executable = executable and not entry & _PXN_TABLE
            table = entry & table_mask
        return None

    return translate
