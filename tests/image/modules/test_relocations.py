"""Relocations against what the processors' manuals make of them, by an independent disassembler."""

from __future__ import annotations

import struct

import capstone
import pytest

from kprobesim.image.modules.relocations import RelocationError, relocate

PLACE = 0xFFFF_8000_0123_4560


def arm64(kind: int, word: int, value: int) -> capstone.CsInsn:
    data = bytearray(struct.pack("<I", word))
    relocate("arm64", kind, data, 0, PLACE, value % 2**64)
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    disassembler.detail = True
    return next(disassembler.disasm(bytes(data), PLACE))


BRANCHES = [
    (282, 0x14000000, 128 << 20),  # JUMP26, b
    (283, 0x94000000, 128 << 20),  # CALL26, bl
    (280, 0x54000001, 1 << 20),  # CONDBR19, b.ne
    (279, 0x36000000, 32 << 10),  # TSTBR14, tbz
    (273, 0x58000000, 1 << 20),  # LD_PREL_LO19, ldr literal
    (274, 0x10000000, 1 << 20),  # ADR_PREL_LO21, adr
]


@pytest.mark.parametrize(("kind", "word", "reach"), BRANCHES)
def test_distances_of_arm64(kind: int, word: int, reach: int) -> None:
    for distance in (0, 4, -4, reach // 2 + 8, reach - 4, -reach):
        operands = arm64(kind, word, PLACE + distance).operands
        assert operands[-1].imm % 2**64 == PLACE + distance
    for distance in (reach, -reach - 4):
        with pytest.raises(RelocationError, match="too far"):
            arm64(kind, word, PLACE + distance)


@pytest.mark.parametrize("kind", [275, 276])
def test_pages_of_arm64(kind: int) -> None:
    for distance in (0, 0x1000, -0x1000, 0x7FFF_F000, -0x8000_0000):
        assert arm64(kind, 0x90000000, PLACE + distance).operands[-1].imm % 2**64 == (
            PLACE + distance & ~0xFFF
        )
    if kind == 275:
        with pytest.raises(RelocationError):
            arm64(kind, 0x90000000, PLACE + (4 << 30))


@pytest.mark.parametrize(
    ("kind", "word", "scale"),
    [
        (277, 0x91000000, 1),  # add
        (278, 0x39400000, 1),  # ldrb
        (284, 0x79400000, 2),
        (285, 0xB9400000, 4),
        (286, 0xF9400000, 8),
        (299, 0x3DC00000, 16),
    ],
)
def test_low_bits_of_arm64(kind: int, word: int, scale: int) -> None:
    for low in (0, 16, 0xFF0):
        operand = arm64(kind, word, 0xFFFF_8000_0ABC_D000 + low).operands[-1]
        assert (operand.imm if kind == 277 else operand.mem.disp) == low


def test_moves_of_arm64() -> None:
    value = 0x1234_5678_9ABC_DEF0
    for group, kind in enumerate((264, 266, 268, 269)):
        operand = arm64(kind, 0xF2800000 | group << 21, value).operands[-1]
        assert operand.imm == value >> 16 * group & 0xFFFF and operand.shift.value == 16 * group
    assert arm64(270, 0xD2800000, -5).op_str == "x0, #-5"
    assert arm64(270, 0x92800000, 5).op_str in ("x0, #5", "x0, #0x5")
    with pytest.raises(RelocationError):
        arm64(263, 0xD2800000, 0x10000)


@pytest.mark.parametrize(
    ("kind", "size", "relative", "good", "bad"),
    [
        (1, 8, False, [0, 2**64 - 1], []),
        (2, 4, True, [0x7FFFFFFF, -0x80000000], [0x80000000, -0x80000001]),
        (4, 4, True, [0x7FFFFFFF, -0x80000000], [0x80000000]),
        (10, 4, False, [0, 0xFFFFFFFF], [0x100000000, 2**64 - 1]),
        (11, 4, False, [0x7FFFFFFF, 2**64 - 0x80000000], [0x80000000]),
        (24, 8, True, [2**63 - 1, -(2**63)], []),
    ],
)
def test_x86(kind: int, size: int, relative: bool, good: list[int], bad: list[int]) -> None:
    place = 0xFFFF_FFFF_C000_1000 if relative else 0
    for value in good:
        data = bytearray(12)
        relocate("x86_64", kind, data, 2, place, (place + value) % 2**64)
        assert data[2 : 2 + size] == (value % 2 ** (8 * size)).to_bytes(size, "little")
        assert not any(data[:2]) and not any(data[2 + size :])
    for value in bad:
        with pytest.raises(RelocationError):
            relocate("x86_64", kind, bytearray(12), 2, place, (place + value) % 2**64)


@pytest.mark.parametrize(("arch", "kind"), [("x86_64", 9), ("arm64", 311), ("arm64", 1)])
def test_others_are_refused(arch: str, kind: int) -> None:
    with pytest.raises(RelocationError, match="no kernel knows"):
        relocate(arch, kind, bytearray(8), 0, PLACE, PLACE)


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_the_end_of_a_section(arch: str) -> None:
    with pytest.raises(RelocationError, match="outside"):
        relocate(arch, {"x86_64": 1, "arm64": 257}[arch], bytearray(7), 0, PLACE, PLACE)
