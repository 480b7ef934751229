"""The boostable instructions against lists written down from the kernel's tables."""

from __future__ import annotations

import pytest

from kprobesim.arch.x86_64 import can_boost, decode

# One row an opcode's high nibble: the low nibbles of the opcodes that may not be boosted ...
ONE_BYTE_REFUSED = {
    0x6: "2",
    0x7: "0123456789abcdef",
    0x9: "a",
    0xC: "cde",
    0xD: "689abcdef",
    0xE: "012389b",
    0xF: "01234",
}
PREFIXES = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3}
PREFIXES |= set(range(0x40, 0x50)) | {0x0F, 0x62, 0xC4, 0xC5}
# ... and of the two-byte opcodes that may.
TWO_BYTE_ALLOWED = {
    0x0: "23689",
    0x1: "f",
    0x2: "0123",
    0x3: "1",
    0x4: "0123456789abcdef",
    0x6: "0123456789abef",
    0x7: "4567ef",
    0x9: "0123456789abcdef",
    0xA: "0134589bcdf",
    0xB: "01234567bcdef",
    0xC: "0189abcdef",
    0xD: "123589bcdf",
    0xE: "12589bcdf",
    0xF: "123589acde",
}
GROUPS = {0xC0: "0123457", 0xC1: "0123457", 0xD0: "0123457", 0xD3: "0123457"}
GROUPS |= {0xF6: "0234567", 0xF7: "0234567", 0xFE: "01", 0xFF: "014"}


def test_one_byte_opcodes() -> None:
    for opcode in set(range(256)) - PREFIXES - set(GROUPS):
        refused = f"{opcode & 15:x}" in ONE_BYTE_REFUSED.get(opcode >> 4, "")
        assert can_boost(decode(bytes([opcode]) + bytes(15))) is not refused, hex(opcode)


def test_two_byte_opcodes() -> None:
    for opcode in set(range(256)) - {0x38, 0x3A}:
        allowed = f"{opcode & 15:x}" in TWO_BYTE_ALLOWED.get(opcode >> 4, "")
        assert can_boost(decode(bytes([0x0F, opcode]) + bytes(15))) is allowed, hex(opcode)


@pytest.mark.parametrize("opcode", GROUPS)
def test_groups(opcode: int) -> None:
    for reg in range(8):
        insn = decode(bytes([opcode, 0xC0 | reg << 3]) + bytes(8))
        assert can_boost(insn) is (str(reg) in GROUPS[opcode]), reg


def test_three_byte_opcodes_are_not() -> None:
    assert not can_boost(decode(bytes.fromhex("0f38f0 01")))
    assert not can_boost(decode(bytes.fromhex("660f3a0f c1 02")))


@pytest.mark.parametrize(
    ("prefix", "boost"), [("2e", False), ("67", False), ("66", True), ("65", True), ("f0", True)]
)
def test_prefixes(prefix: str, boost: bool) -> None:
    assert can_boost(decode(bytes.fromhex(prefix + "48 01 03"))) is boost
    assert can_boost(decode(bytes.fromhex("f3" + prefix + "48 01 03"))) is boost


def test_exception_table() -> None:
    insn = decode(bytes.fromhex("48 8b 03"))
    assert can_boost(insn)
    assert not can_boost(insn, has_exception_entry=True)
