"""Which addresses start an instruction."""

from __future__ import annotations

import errno

import pytest
from arch.x86_64.x86_fakes import reader, rows
from hypothesis import given
from hypothesis import strategies as st

from kprobesim.arch.refused import Refused
from kprobesim.arch.x86_64 import boundaries, check_boundary, decode, is_exception_insn
from kprobesim.errors import Reason

START = 0xFFFF_FFFF_8100_0FF8  # the functions cross a page
CODE = bytes.fromhex("55 4889e5 0f0b c3")


@pytest.mark.parametrize("offset", [0, 1, 4, 6])
def test_boundary(offset: int) -> None:
    check_boundary(reader(START, CODE), START, START + offset)


@pytest.mark.parametrize("offset", [2, 3, 5])
def test_inside_an_instruction(offset: int) -> None:
    with pytest.raises(Refused, match="lies inside an instruction") as caught:
        check_boundary(reader(START, CODE), START, START + offset)
    assert caught.value.errno == errno.EILSEQ
    assert caught.value.reason is Reason.NOT_INSTRUCTION_BOUNDARY


def test_endbr_is_one_instruction() -> None:
    read = reader(START, bytes.fromhex("f30f1efa 55 c3"))
    assert list(boundaries(read, START, START + 6)) == [START, START + 4, START + 5, START + 6]
    with pytest.raises(Refused):
        check_boundary(read, START, START + 1)


@pytest.mark.parametrize(
    "code", ["cc", "cd 80", "ce", "f1", "0f 0b", "0f ff c0", "67 0f b9 40 0d", "66 cd 80"]
)
def test_exception_instructions_since_6_13(code: str) -> None:
    read = reader(START, b"\x55" + bytes.fromhex(code))
    check_boundary(read, START, START + 1)
    with pytest.raises(Refused, match="made to trap") as caught:
        check_boundary(read, START, START + 1, refuse_exception_insns=True)
    assert caught.value.errno == errno.EILSEQ


def test_vector_opcodes_pass_for_exceptions() -> None:
    assert is_exception_insn(decode(bytes.fromhex("c4 e3 f9 ce c1 00")))  # vgf2p8affineqb
    assert is_exception_insn(decode(bytes.fromhex("c5 f9 f1 c1")))  # vpsllw
    assert not is_exception_insn(decode(bytes.fromhex("c4 e3 79 0f c1 01")))  # vpalignr


def test_undecodable_on_the_way() -> None:
    read = reader(START, bytes.fromhex("55 c5f800 c3"))
    check_boundary(read, START, START + 1)  # the target itself is for prepare() to judge
    with pytest.raises(Refused, match="is no instruction") as caught:
        check_boundary(read, START, START + 4)
    assert (caught.value.errno, caught.value.reason) == (errno.EILSEQ, Reason.UNDECODABLE)
    with pytest.raises(Refused, match="is no instruction"):
        check_boundary(read, START, START + 1, refuse_exception_insns=True)


# movl $-id, %r10d; addl -4(%rdi), %r10d; je 1f; ud2; 1: call *%rdi; movl $1, %edx; ret
CFI_CHECK = bytes.fromhex("41ba785634ed 440357fc 7402 0f0b ffd7 ba01000000 c3")


@pytest.mark.parametrize("offset", [0, 6])
def test_what_a_cfi_trap_reads(offset: int) -> None:
    read = reader(START, CFI_CHECK)
    check_boundary(read, START, START + offset)
    check_boundary(read, START, START + offset, cfi_traps={START + 13, START - 1})
    with pytest.raises(Refused, match="kCFI check") as caught:
        check_boundary(read, START, START + offset, cfi_traps={START + 12})
    assert (caught.value.errno, caught.value.reason) == (errno.EILSEQ, Reason.CFI_CHECK)


@pytest.mark.parametrize("offset", [10, 12, 14, 16, 21])
def test_what_it_does_not_read(offset: int) -> None:
    check_boundary(reader(START, CFI_CHECK), START, START + offset, cfi_traps={START + 12})


def test_only_two_opcodes_belong_to_a_cfi_check() -> None:
    """MOV to another register and ADD the other way round are no part of one."""
    for code in ("41bb785634ed 440357fc 7402 0f0b", "41ba785634ed 440157fc 7402 0f0b"):
        read = reader(START, bytes.fromhex(code))
        offset = 0 if code.startswith("41bb") else 6
        check_boundary(read, START, START + offset, cfi_traps={START + 12})


def test_with_cfi_the_target_must_be_an_instruction() -> None:
    read = reader(START, bytes.fromhex("55 c5f800 c3"))
    with pytest.raises(Refused, match="is no instruction") as caught:
        check_boundary(read, START, START + 1, cfi_traps={START - 1})
    assert caught.value.errno == errno.EILSEQ


def test_unmapped_on_the_way() -> None:
    read = reader(0x1000, b"\x90" * 4096, padding=0)
    check_boundary(read, 0x1000, 0x1FFF)
    check_boundary(read, 0x1000, 0x2000)
    with pytest.raises(Refused, match="nothing is mapped") as caught:
        check_boundary(read, 0x1000, 0x2001)
    assert caught.value.errno == errno.EILSEQ
    with pytest.raises(Refused, match="nothing is mapped"):
        check_boundary(read, 0x0, 0x1000)


def test_a_truncated_instruction_at_the_end_of_memory() -> None:
    read = reader(0x1000, b"\x90" * 4094 + b"\x48\x8b", padding=0)
    check_boundary(read, 0x1000, 0x1FFE)
    with pytest.raises(Refused):
        check_boundary(read, 0x1000, 0x1FFF)


INSNS = [bytes.fromhex(row["bytes"]) for row in rows("encodings.csv")]


@given(st.lists(st.sampled_from(INSNS), min_size=1, max_size=1500), st.integers(0, 4095))
def test_every_boundary_of_a_random_function(insns: list[bytes], start: int) -> None:
    starts = [start]
    for insn in insns:
        starts.append(starts[-1] + len(insn))
    read = reader(start, b"".join(insns))
    assert list(boundaries(read, start, starts[-1])) == starts
    for address in range(max(start, starts[-1] - 20), starts[-1]):
        if address in starts:
            check_boundary(read, start, address)
        else:
            with pytest.raises(Refused):
                check_boundary(read, start, address)
