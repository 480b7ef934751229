"""Alternatives: pieces of code that the kernel replaces by ones that fit its CPU.

The tables and the rules are those of ``apply_alternatives()``, arch/x86/kernel/alternative.c,
5.10 to 7.2.
"""

from __future__ import annotations

import struct
from collections.abc import Container
from dataclasses import dataclass

from kprobesim.arch.x86_64.insn import Insn, Undecodable, decode
from kprobesim.patching.text import Code, displacement
from kprobesim.patching.x86_64.nops import (
    K8_NOPS,
    nop_table,
    nops,
    optimize_nops,
    optimize_nops_5_10,
    optimize_nops_6_1,
)

__all__ = ["alternatives_layout", "apply_alternatives", "relocate"]

TABLE = ("__alt_instructions", "__alt_instructions_end", ".altinstructions")

_NOT_BEFORE_6_3 = 1 << 15  # in cpuid
_NOT, _DIRECT_CALL = 1, 2  # in flags
_CALL, _JMP32, _JMP8, _INT3 = 0xE8, 0xE9, 0xEB, 0xCC
_CALL_MEMORY = b"\xff\x15"
_SAMPLE = 64
_NO_JUMPS_SINCE = (6, 10)


@dataclass(frozen=True)
class Layout:
    """``struct alt_instr`` of some versions.

    Distances to the place and to the replacement, cpuid, flags (not before 6.3), length of the
    place, of the replacement, of the padding (until 5.12).
    """

    format: str
    has_flags: bool = False
    has_padding: bool = False

    @property
    def size(self) -> int:
        """Bytes of an entry."""
        return struct.calcsize(self.format)


_5_10 = Layout("<iiHBBB", has_padding=True)
_5_13 = Layout("<iiHBB")
_6_3 = Layout("<iiHHBB", has_flags=True)


@dataclass(frozen=True)
class Alternative:
    """One entry: ``replacement`` stands in for the place if ``feature`` is set (or is not)."""

    place: int
    replacement: int
    feature: int
    negated: bool
    direct_call: bool
    length: int
    replacement_length: int
    padding: int


def alternatives_layout(code: Code) -> Layout:
    """How the kernel ``code`` writes its table; its modules do the same."""
    return _layout(code, *(code.image.table(*TABLE) or (0, b"")))


def apply_alternatives(code: Code, features: Container[int], layout: Layout | None = None) -> None:
    """Write what a CPU with ``features`` gets; the table is in ``layout``, or shows by itself."""
    found = code.image.table(*TABLE)
    if found is None:
        return
    start, table = found
    layout = layout or _layout(code, start, table)
    entries = [
        entry
        for entry in _entries(layout, start, table)
        if entry.replacement_length <= entry.length and code.holds(entry.place, entry.length)
    ]
    for number, entry in enumerate(entries):
        length = entry.length
        if layout is _6_3:
            # Alternatives in one another begin at one place, and the longest has the last bytes.
            for other in entries[number + 1 :]:
                if other.place != entry.place:
                    break
                length = max(length, other.length)
        chosen = (entry.feature in features) != entry.negated
        old = code.read(entry.place, length)
        if layout is _6_3:
            new = _since_6_3(code, entry, old) if chosen else old
            new = _merged(new, with_jumps=code.image.version[:2] < _NO_JUMPS_SINCE)
        elif layout is _5_13:
            new = _before_6_3(code, entry, old, chosen)
        else:
            new = _5_10_with_padding(code, entry, old, chosen)
        if new != old:
            code.write(entry.place, new)


def _layout(code: Code, start: int, table: bytes) -> Layout:
    """The layout whose entries make sense."""

    def sense(layout: Layout) -> int:
        part = table[: _SAMPLE * layout.size]
        return sum(
            code.image.is_code(entry.place)
            and code.image.contains(entry.replacement)
            and entry.length >= entry.replacement_length
            for entry in _entries(layout, start, part)
        )

    return max((_5_13, _6_3, _5_10), key=sense)


def _entries(layout: Layout, start: int, table: bytes) -> list[Alternative]:
    size = layout.size
    entries = []
    whole = len(table) - len(table) % size
    for at, row in zip(
        range(start, start + whole, size),
        struct.iter_unpack(layout.format, table[:whole]),
        strict=True,
    ):
        place, replacement, feature = at + row[0], at + 4 + row[1], row[2]
        if layout.has_flags:
            negated, direct = bool(row[3] & _NOT), bool(row[3] & _DIRECT_CALL)
            lengths = row[4], row[5], 0
        else:
            negated, direct = bool(feature & _NOT_BEFORE_6_3), False
            feature &= _NOT_BEFORE_6_3 - 1
            lengths = row[3], row[4], row[5] if layout.has_padding else 0
        entries.append(Alternative(place, replacement, feature, negated, direct, *lengths))
    return entries


def _5_10_with_padding(code: Code, entry: Alternative, old: bytes, chosen: bool) -> bytes:
    """What is added behind a replacement is NOPs at once."""
    if chosen:
        new = _relocated_before_6_3(code, entry)
        return bytes(new) + nops(len(old) - len(new), K8_NOPS)
    new = bytearray(old)
    if entry.padding > 1:
        optimize_nops_5_10(new, entry.padding)
    return bytes(new)


def _before_6_3(code: Code, entry: Alternative, old: bytes, chosen: bool) -> bytes:
    new = bytearray(old)
    if chosen:
        new = _relocated_before_6_3(code, entry)
        new += b"\x90" * (len(old) - len(new))
    optimize_nops_6_1(new, nop_table(code.image.version))
    return bytes(new)


def _relocated_before_6_3(code: Code, entry: Alternative) -> bytearray:
    """Only a replacement that is one call or one jump is relocated."""
    new = bytearray(code.read(entry.replacement, entry.replacement_length))
    if len(new) == 5 and new[0] in (_CALL, _JMP32):
        target = entry.replacement + 5 + int.from_bytes(new[1:], "little", signed=True)
        distance = target - entry.place - 2
        if new[0] == _JMP32 and -2 <= distance < 128:  # only forwards
            new[:] = bytes([_JMP8, distance & 0xFF]) + nop_table(code.image.version)[3]
        else:
            new[1:] = displacement(entry.place + 5, target)
    return new


def _merged(old: bytes, *, with_jumps: bool) -> bytes:
    if 0x90 not in old and b"\x0f\x1f" not in old:
        return old
    new = bytearray(old)
    optimize_nops(new, with_jumps=with_jumps)
    return bytes(new)


def _since_6_3(code: Code, entry: Alternative, old: bytes) -> bytes:
    replacement = code.read(entry.replacement, entry.replacement_length)
    if entry.direct_call:
        replacement = _direct_call(code, entry, old, replacement)
    new = bytearray(replacement + b"\x90" * (len(old) - len(replacement)))
    relocate(new, entry.place, entry.replacement, entry.replacement_length)
    return bytes(new)


def _direct_call(code: Code, entry: Alternative, old: bytes, replacement: bytes) -> bytes:
    """A call of what the place calls through memory, as seen from the replacement's address.

    Nothing at all in place of a function that does nothing.
    """
    if old[:2] != _CALL_MEMORY:
        return replacement
    pointer = entry.place + 6 + int.from_bytes(old[2:6], "little", signed=True)
    target = code.read_word(pointer)
    if not target:
        return replacement
    if target == code.symbol("nop_func"):
        return b""
    return bytes([_CALL]) + displacement(entry.replacement + 5, target)


def relocate(code: bytearray, place: int, source: int, source_length: int) -> None:
    """Move ``code`` from ``source`` to ``place``.

    Branches and RIP-relative operands that lead out of it still lead there (apply_relocation(), 6.3
    and later). A jump that may be short gets short.
    """
    at = 0
    while at < len(code):
        try:
            insn = decode(code, at)
        except Undecodable:
            return
        start, at = at, at + insn.length
        field, value = _relative_field(insn)
        if field is None or 0 <= at + value <= source_length:
            continue
        moved = value + source - place
        if insn.opcode[0] == _JMP32 and -128 <= moved + 3 < 128:
            short = bytes([_JMP8, (moved + 3) & 0xFF])
            code[start:at] = short + bytes([_INT3]) * (insn.length - 2)
        else:
            code[start + field : start + field + 4] = displacement(0, moved)


def _relative_field(insn: Insn) -> tuple[int | None, int]:
    """Where the 32 bits of a distance are, and the distance."""
    if insn.is_rip_relative:
        return insn.disp_offset, insn.disp
    if insn.vex is None and insn.imm_size == 4:
        long_jump = insn.opcode[0] == 0x0F and insn.opcode[1] & 0xF0 == 0x80
        if insn.opcode[0] in (_CALL, _JMP32) or long_jump:
            return insn.imm_offset, insn.imm
    return None, 0
