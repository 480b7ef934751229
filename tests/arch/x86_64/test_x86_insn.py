"""The decoder against known lengths and hand-checked parts."""

from __future__ import annotations

import pytest
from arch.x86_64.x86_fakes import rows
from hypothesis import given
from hypothesis import strategies as st

from kprobesim.arch.x86_64 import Undecodable, decode, length
from kprobesim.arch.x86_64.insn import length_by_head

ENCODINGS = [(bytes.fromhex(row["bytes"]), int(row["length"])) for row in rows("encodings.csv")]


def test_lengths_of_known_encodings() -> None:
    assert len(ENCODINGS) > 700
    wrong = {code.hex(): known for code, known in ENCODINGS if length(code + bytes(15)) != known}
    assert not wrong


def test_decode_and_length_agree_and_parts_add_up() -> None:
    for code, known in ENCODINGS:
        insn = decode(b"\x90\x90" + code + bytes(15), 2)
        assert insn.length == known
        assert insn.raw == code
        assert insn.imm_offset + insn.imm_size == known
        assert insn.disp_offset + insn.disp_size == insn.imm_offset


def test_what_three_bytes_decide_is_remembered_and_nothing_else() -> None:
    for code, known in ENCODINGS:
        for end in (0, 15):  # with and without more behind it
            assert length(code + bytes(end)) == decode(code + bytes(end)).length == known
        assert length_by_head(code[:3].ljust(3, b"\x90")) in (0, known)
        with pytest.raises(Undecodable):
            length(code[: known - 1])
    assert length_by_head(bytes.fromhex("8b 44 24")) == 4  # a displacement, whatever the base
    assert length_by_head(bytes.fromhex("8b 04 25")) == 7
    assert length_by_head(bytes.fromhex("8b 04 24")) == 3
    assert length_by_head(bytes.fromhex("48 8b 04")) == 0  # the base decides
    assert length_by_head(bytes.fromhex("0f 0b 78")) == 0  # UD2, or a hypervisor's prefix


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_any_buffer(view: type) -> None:
    code = view(bytes.fromhex("90 48 83 3d 10 00 00 00 7f"))
    assert length(code, 1) == 8
    assert decode(code, 1).imm == 0x7F


def test_parts() -> None:
    insn = decode(bytes.fromhex("f0 66 4d 0f ba ac 8b f0 ff ff ff 80"))
    assert insn.prefixes == b"\xf0\x66"
    assert (insn.rex, insn.vex, insn.opcode) == (0x4D, None, b"\x0f\xba")
    assert (insn.modrm, insn.sib, insn.reg) == (0xAC, 0x8B, 5)
    assert (insn.disp_offset, insn.disp_size, insn.disp) == (7, 4, -16)
    assert (insn.imm_offset, insn.imm_size, insn.imm) == (11, 1, -128)
    assert (insn.opnd_bytes, insn.addr_bytes) == (8, 8)
    assert not insn.is_rip_relative


@pytest.mark.parametrize(
    ("code", "vex", "opcode", "opnd_bytes", "rip"),
    [
        ("c5 f8 77", "vex2", "77", 4, False),
        ("c5 fa 6f 05 00 00 00 00", "vex2", "6f", 4, True),
        ("c4 e3 fd 00 c1 4e", "vex3", "00", 8, False),
        ("c4 e2 78 49 c0", "vex3", "49", 4, False),
        ("62 f1 fe 48 6f 05 00 01 00 00", "evex", "6f", 8, True),
        ("62 f3 7d 48 25 c1 ff", "evex", "25", 4, False),
    ],
)
def test_vector_encodings(code: str, vex: str, opcode: str, opnd_bytes: int, rip: bool) -> None:
    raw = bytes.fromhex(code)
    insn = decode(raw + bytes(8))
    assert insn.raw == raw
    assert (insn.vex, insn.opcode.hex(), insn.opnd_bytes) == (vex, opcode, opnd_bytes)
    assert insn.is_rip_relative is rip


@pytest.mark.parametrize(
    ("code", "size", "imm"),
    [
        ("48 b8 11 22 33 44 55 66 77 88", 10, -0x7788_99AA_BBCC_DDEF),  # mov imm64
        ("66 b8 34 12", 4, 0x1234),
        ("b8 00 00 00 80", 5, -0x8000_0000),
        ("48 a1 01 00 00 00 00 00 00 80", 10, -0x7FFF_FFFF_FFFF_FFFF),  # moffs64
        ("67 a1 01 00 00 00", 6, 1),  # moffs32
        ("66 e9 00 01 00 00", 6, 0x100),  # a near branch has a 32-bit displacement regardless
        ("66 0f 84 00 01 00 00", 7, 0x100),
        ("c8 10 00 01", 4, 0x10010),  # enter
        ("c2 10 00", 3, 0x10),
        ("66 68 34 12", 4, 0x1234),
        ("f7 c0 01 00 00 00", 6, 1),  # test has an immediate
        ("f7 d8", 2, 0),  # neg has none
        ("f6 c8 01", 3, 1),  # the second encoding of test
        ("0f 20 45", 3, 0),  # mov rbp, cr0: mod is ignored
        ("67 0f b9 40 0d", 5, 0),  # ud1, with its ModR/M
    ],
)
def test_immediates(code: str, size: int, imm: int) -> None:
    insn = decode(bytes.fromhex(code) + bytes(8))
    assert (insn.length, insn.imm) == (size, imm)


def test_opcodes_of_32_bit_mode_decode_as_in_the_kernel() -> None:
    assert length(b"\x06" + bytes(4)) == 1  # push es: Linux 6.1 takes a probe on it
    assert length(bytes.fromhex("9a 00 00 00 00 00 00")) == 7


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("f2 0f 42 de", 3),  # CMOVB has no form with F2
        ("f3 41 0f 93 3b", 4),  # nor SETAE one with F3
        ("66 2e 0f 6f 01", 5),  # only the last prefix counts, and that chooses MMX here
        ("66 2e 0f 6d c1", 4),  # ... where PUNPCKHQDQ has no form without 66
        ("66 41 0f 1d 8e d7 01 02 03", 4),  # an unused hint
        ("0f 71 c0 01", 3),  # a group without a first member, and so without its immediate
        ("66 0f 71 d0 01", 5),
    ],
)
def test_counts_as_the_kernel_where_the_processor_goes_on(code: str, size: int) -> None:
    """Where its map has no instruction, the kernel's decoder sees no ModR/M and no immediate."""
    assert length(bytes.fromhex(code) + bytes(8)) == size


@pytest.mark.parametrize("vendor", [b"xen", b"kvm"])
def test_emulate_prefix_belongs_to_the_instruction(vendor: bytes) -> None:
    insn = decode(b"\x0f\x0b" + vendor + b"\x0f\xa2" + bytes(8))
    assert insn.emulate_prefix
    assert (insn.length, insn.opcode) == (7, b"\x0f\xa2")
    assert decode(b"\x0f\x0bxem" + bytes(8)).length == 2


@pytest.mark.parametrize(
    "code",
    [
        "",
        "48",
        "0f",
        "0f 38",
        "c5 f8",
        "e8 00 00 00",
        "48 8b 05 00 00 00",
        "8b 04",
        "66" * 15,
        "66" * 20,
        "66 66 66 66 66 66 66 2e 0f 1f 84 00 00 00 00 00",  # sixteen bytes
        "48 9a 00 00 00 00 00 00 00 00 00 00",  # no far pointer has a 64-bit offset
        "c5 f8 00 c0 00 00 00 00",  # no such vector instruction
        "62 f0 7c 48 10 c0 00 00",  # nor such a map
        "f0 f2 66 67 64 90",  # five different prefixes
        "48 66 90",  # a REX that is not last
        "c4 43 c5 68 24 0c b0",  # AMD's FMA4
        "66 0f 78 c0 01 02",  # and EXTRQ: that opcode is one of EVEX for the kernel
        "f2 0f 38 cc 8f ae 01 02 03",  # VSHA512RNDS2 without its VEX
        "c4 e2 78 f3 c0",  # BMI1's group has nothing in its first place
    ],
)
def test_undecodable(code: str) -> None:
    raw = bytes.fromhex(code)
    with pytest.raises(Undecodable):
        decode(raw)
    with pytest.raises(Undecodable):
        length(raw)


def test_fifteen_bytes_are_the_limit() -> None:
    code = bytes.fromhex("66 66 66 66 66 66 2e 0f 1f 84 00 00 00 00 00")
    assert length(code) == 15


@given(st.binary(max_size=24), st.integers(0, 8))
def test_any_bytes_decode_or_are_refused(code: bytes, offset: int) -> None:
    try:
        known = length(code, offset)
    except Undecodable:
        with pytest.raises(Undecodable):
            decode(code, offset)
        return
    insn = decode(code, offset)
    assert 1 <= known <= 15
    assert insn.raw == code[offset : offset + known]
    # Bytes behind an instruction do not matter.
    assert length(insn.raw) == known
