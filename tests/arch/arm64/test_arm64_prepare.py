"""From an address to an ``ArchInsn`` or a refusal."""

from __future__ import annotations

import errno
import struct
from dataclasses import replace

import pytest
from arch.arm64.arm64_fakes import FakeMemory, FakeRegs, code

from kprobesim.arch.arm64 import ArchInsn, Options, prepare
from kprobesim.arch.arm64.constants import BRK_KPROBE
from kprobesim.arch.refused import Refused
from kprobesim.errors import Reason

A = 0xFFFF_8000_0801_0000
SLOT = 0xFFFF_8000_09AF_5008
LDXR, LDAR, ADD, BRK_BUG, SVC = 0xC85F7C20, 0xC8DFFC20, 0x91000400, 0xD4210000, 0xD4000001


def refusal(words: list[int], index: int, **more: object) -> Refused:
    slot, start = more.pop("slot", SLOT), more.pop("symbol_start", None)
    with pytest.raises(Refused) as caught:
        prepare(
            code(words, A),
            A + 4 * index,
            slot=slot,  # type: ignore[arg-type]
            symbol_start=start,  # type: ignore[arg-type]
            options=Options(**more),  # type: ignore[arg-type]
        )
    assert caught.value.message
    return caught.value


def test_a_slot_holds_the_copy_and_the_step_breakpoint() -> None:
    ainsn = prepare(code([0xA9BF7BFD], A), A, slot=SLOT)
    assert ainsn == ArchInsn(
        opcode=0xA9BF7BFD,
        insn=SLOT,
        slot_bytes=bytes.fromhex("fd7bbfa9c00020d4"),
        emulate=None,
        emulate_kind=None,
        restore=A + 4,
        size=4,
        boostable=False,
    )


def test_a_trapping_step_needs_no_breakpoint_in_the_slot() -> None:
    trap = Options(stepping="trap")
    ainsn = prepare(code([ADD], A), A, slot=SLOT, options=trap)
    assert ainsn.slot_bytes == struct.pack("<II", ADD, 0xD42000C0)
    ainsn = prepare(code([ADD], A), A, slot=SLOT, options=replace(trap, slot_size=4))
    assert ainsn.slot_bytes == struct.pack("<I", ADD)


def test_a_simulated_instruction_takes_no_slot() -> None:
    ainsn = prepare(code([0x14000004], A), A, slot=None)
    assert (ainsn.insn, ainsn.slot_bytes, ainsn.restore) == (None, b"", 0)
    assert ainsn.emulate_kind == "b_bl"
    assert ainsn.emulate is not None
    regs = FakeRegs()
    ainsn.emulate(regs, FakeMemory())
    assert regs.new_pc == A + 16


def test_the_slot_is_refused_last() -> None:
    refused = refusal([ADD], 0, slot=None)
    assert (refused.errno, refused.reason) == (errno.ENOMEM, Reason.NO_SLOT)


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_comes_first(offset: int) -> None:
    with pytest.raises(Refused) as caught:
        prepare(
            code([LDXR, SVC], A), A + offset, slot=None, options=Options(has_exception_entry=True)
        )
    assert (caught.value.errno, caught.value.reason) == (errno.EINVAL, Reason.UNALIGNED)


def test_the_exception_table_comes_before_the_word() -> None:
    refused = refusal([SVC], 0, has_exception_entry=True)
    assert (refused.errno, refused.reason) == (errno.EINVAL, Reason.EXCEPTION_TABLE)


def test_the_word_comes_before_the_scan() -> None:
    refused = refusal([LDXR, SVC], 1, symbol_start=A)
    assert (refused.errno, refused.reason) == (errno.EINVAL, Reason.UNPROBEABLE_INSTRUCTION)


def test_a_breakpoint_of_the_kernel() -> None:
    refused = refusal([BRK_BUG], 0)
    assert (refused.errno, refused.reason) == (errno.EINVAL, Reason.BREAKPOINT)


@pytest.mark.parametrize("word", [ADD, 0x14000002])
def test_an_open_exclusive_sequence(word: int) -> None:
    refused = refusal([LDXR, word], 1, symbol_start=A, slot=None)
    assert (refused.errno, refused.reason) == (errno.EINVAL, Reason.EXCLUSIVE_SEQUENCE)
    assert f"{A:#x}" in refused.message


def test_the_scan_reads_live_memory_and_the_word_the_original() -> None:
    original, live = code([LDAR, ADD], A), code([BRK_KPROBE, BRK_KPROBE], A)
    assert prepare(original, A + 4, slot=SLOT, read_live=live, symbol_start=A).opcode == ADD
    with pytest.raises(Refused):
        prepare(original, A + 4, slot=SLOT, symbol_start=A)


def test_strict_runs_a_simd_literal_load_from_the_slot() -> None:
    read = code([0x9C001840], A)
    assert prepare(read, A, slot=SLOT, options=Options(strict=True)).insn == SLOT
    correct = prepare(read, A, slot=None)
    assert correct.emulate_kind == "ldr_simd_literal"
