"""Relocations of modules: how a symbol's address gets into code and data.

Numbers and formulas: System V ABI for x86-64, table 4.9; ELF for the Arm 64-bit Architecture,
section 5.7. Which of them a kernel knows: arch/x86/kernel/module.c and arch/arm64/kernel/module.c.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from kprobesim.arch.architecture import halves
from kprobesim.sizes import MASK64, page_down

__all__ = ["FAR_BRANCHES", "RelocationError", "relocate"]


class RelocationError(Exception):
    """A relocation that no kernel knows, or a symbol that is too far away for it."""


class _From(Enum):
    """What a value counts from."""

    ZERO = "the address"
    PLACE = "the distance"
    PAGE = "the distance between the pages"


class _Range(Enum):
    """Which values a field of some bits holds."""

    ANY = "its lowest bits"
    SIGNED = "signed ones"
    UNSIGNED = "unsigned ones"
    EITHER = "both"


@dataclass(frozen=True)
class _Data:
    """A number of ``size`` bytes."""

    size: int
    origin: _From
    range: _Range


@dataclass(frozen=True)
class _Field:
    """``bits`` of an ARM64 instruction from bit ``at`` on: the value without its lowest bits.

    ``is_adr``: the two lowest of them are at bit 29 instead. ``is_move``: MOVZ becomes MOVN for a
    negative value, which is inverted.
    """

    origin: _From
    drop: int
    at: int
    bits: int
    range: _Range
    is_adr: bool = False
    is_move: bool = False


_X86_64: dict[int, _Data | None] = {
    0: None,
    1: _Data(8, _From.ZERO, _Range.ANY),  # 64
    2: _Data(4, _From.PLACE, _Range.SIGNED),  # PC32
    4: _Data(4, _From.PLACE, _Range.SIGNED),  # PLT32
    10: _Data(4, _From.ZERO, _Range.UNSIGNED),  # 32
    11: _Data(4, _From.ZERO, _Range.SIGNED),  # 32S
    24: _Data(8, _From.PLACE, _Range.ANY),  # PC64
}


def _lo12(size_log: int) -> _Field:
    return _Field(_From.ZERO, size_log, 10, 12 - size_log, _Range.ANY)


def _move(origin: _From, group: int, range_: _Range, *, signed: bool = False) -> _Field:
    return _Field(origin, 16 * group, 5, 16, range_, is_move=signed)


_ARM64: dict[int, _Data | _Field | None] = {
    0: None,
    256: None,
    257: _Data(8, _From.ZERO, _Range.ANY),  # ABS64
    258: _Data(4, _From.ZERO, _Range.EITHER),
    259: _Data(2, _From.ZERO, _Range.EITHER),
    260: _Data(8, _From.PLACE, _Range.ANY),  # PREL64
    261: _Data(4, _From.PLACE, _Range.SIGNED),
    262: _Data(2, _From.PLACE, _Range.SIGNED),
    263: _move(_From.ZERO, 0, _Range.UNSIGNED),  # MOVW_UABS_G0
    264: _move(_From.ZERO, 0, _Range.ANY),
    265: _move(_From.ZERO, 1, _Range.UNSIGNED),
    266: _move(_From.ZERO, 1, _Range.ANY),
    267: _move(_From.ZERO, 2, _Range.UNSIGNED),
    268: _move(_From.ZERO, 2, _Range.ANY),
    269: _move(_From.ZERO, 3, _Range.ANY),
    270: _move(_From.ZERO, 0, _Range.SIGNED, signed=True),  # MOVW_SABS_G0
    271: _move(_From.ZERO, 1, _Range.SIGNED, signed=True),
    272: _move(_From.ZERO, 2, _Range.SIGNED, signed=True),
    273: _Field(_From.PLACE, 2, 5, 19, _Range.SIGNED),  # LD_PREL_LO19
    274: _Field(_From.PLACE, 0, 5, 21, _Range.SIGNED, is_adr=True),  # ADR_PREL_LO21
    275: _Field(_From.PAGE, 12, 5, 21, _Range.SIGNED, is_adr=True),  # ADR_PREL_PG_HI21
    276: _Field(_From.PAGE, 12, 5, 21, _Range.ANY, is_adr=True),
    277: _lo12(0),  # ADD_ABS_LO12_NC
    278: _lo12(0),  # LDST8_ABS_LO12_NC
    279: _Field(_From.PLACE, 2, 5, 14, _Range.SIGNED),  # TSTBR14
    280: _Field(_From.PLACE, 2, 5, 19, _Range.SIGNED),  # CONDBR19
    282: _Field(_From.PLACE, 2, 0, 26, _Range.SIGNED),  # JUMP26
    283: _Field(_From.PLACE, 2, 0, 26, _Range.SIGNED),  # CALL26
    284: _lo12(1),  # LDST16_ABS_LO12_NC
    285: _lo12(2),
    286: _lo12(3),
    287: _move(_From.PLACE, 0, _Range.SIGNED, signed=True),  # MOVW_PREL_G0
    288: _move(_From.PLACE, 0, _Range.ANY),
    289: _move(_From.PLACE, 1, _Range.SIGNED, signed=True),
    290: _move(_From.PLACE, 1, _Range.ANY),
    291: _move(_From.PLACE, 2, _Range.SIGNED, signed=True),
    292: _move(_From.PLACE, 2, _Range.ANY),
    293: _move(_From.PLACE, 3, _Range.SIGNED, signed=True),
    299: _lo12(4),  # LDST128_ABS_LO12_NC
}
_HOW: Mapping[str, Mapping[int, _Data | _Field | None]] = halves(x86_64=_X86_64, arm64=_ARM64)
FAR_BRANCHES: Mapping[str, Collection[int]] = halves(x86_64=(), arm64=(282, 283))
"""Branches that get a veneer if they do not reach: ARM64's JUMP26 and CALL26."""


def relocate(arch: str, kind: int, data: bytearray, at: int, place: int, value: int) -> None:
    """Put ``value``, symbol plus addend, into ``data[at:]``, which lies at the address ``place``.

    Raises :class:`RelocationError`.
    """
    table = _HOW[arch]
    if kind not in table:
        raise RelocationError(f"is of type {kind}, which no kernel knows")
    how = table[kind]
    if how is None:
        return
    size = how.size if isinstance(how, _Data) else 4
    if at + size > len(data):
        raise RelocationError("lies outside of its section")
    if how.origin is _From.PLACE:
        value -= place
    elif how.origin is _From.PAGE:
        value = page_down(value) - page_down(place)
    value = (value + (1 << 63) & MASK64) - (1 << 63)
    if isinstance(how, _Data):
        if not _fits(value, 8 * size, how.range):
            raise RelocationError(f"cannot hold {value:#x}: the symbol is too far away")
        data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        return
    (word,) = struct.unpack_from("<I", data, at)
    field = value >> how.drop
    # Without the sign, MOVZ and MOVN hold one bit more.
    if not _fits(field, how.bits + how.is_move, how.range):
        raise RelocationError(f"cannot hold {value:#x}: the symbol is too far away")
    struct.pack_into("<I", data, at, _insert(how, word, field))


def _insert(how: _Field, word: int, value: int) -> int:
    if how.is_adr:
        high = value >> 2 & 0x7FFFF
        return word & 0x9F00_001F | (value & 3) << 29 | high << 5
    if how.is_move:
        word &= ~(3 << 29)  # MOVN; bit 30 makes it MOVZ
        if value < 0:
            value = ~value
        else:
            word |= 1 << 30
    mask = (1 << how.bits) - 1
    return word & ~(mask << how.at) | (value & mask) << how.at


def _fits(value: int, bits: int, range_: _Range) -> bool:
    if range_ is _Range.ANY:
        return True
    if range_ is _Range.UNSIGNED:
        return 0 <= value < 1 << bits
    high = bits if range_ is _Range.EITHER else bits - 1
    return -(1 << bits - 1) <= value < 1 << high
