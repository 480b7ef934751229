"""Which probes the kernel would turn into jumps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kprobesim.arch.x86_64.optimize import branches, copied_size

START = 0xFFFF_FFFF_8100_0000
THUNKS = START + 0x1000, START + 0x1100
# push %rbp; mov %rsp, %rbp; sub $16, %rsp; leave; ret
FUNCTION = "55 4889e5 4883ec10 c9 c3"


def size(
    code: str,
    offset: int,
    *,
    thunks: tuple[int, int] | None = THUNKS,
    faulting: int | None = None,
    reserved: Callable[[int, int], bool] = lambda start, end: False,
    group_boost: bool = False,
) -> int:
    text = bytes.fromhex(code)
    if not branches(text, START, thunks).allow_jump(START + offset):
        return 0
    return copied_size(
        lambda address, count: (text + bytes(32))[address - START :][:count],
        START + offset,
        has_exception_entry=lambda address: address - START == faulting,
        reserved=reserved,
        group_boost=group_boost,
    )


@pytest.mark.parametrize(("offset", "copied"), [(0, 8), (1, 7), (4, 5), (8, 0), (9, 0)])
def test_whole_instructions_are_copied(offset: int, copied: int) -> None:
    assert size(FUNCTION, offset) == copied


@pytest.mark.parametrize(
    ("target", "allowed"), [(0, True), (1, False), (4, False), (5, False), (8, True)]
)
def test_no_branch_may_end_behind_the_first_byte(target: int, allowed: bool) -> None:
    distance = target - 12
    jump = f"eb{distance & 0xFF:02x}"
    jcc = f"0f85{(distance - 4) & 0xFFFF_FFFF:08x}"
    jcc = "0f85" + bytes.fromhex(jcc[4:])[::-1].hex()
    assert bool(size(FUNCTION + jump, 0)) is allowed
    assert bool(size(FUNCTION + jcc, 0)) is allowed
    call = "e8" + ((distance - 3) & 0xFFFF_FFFF).to_bytes(4, "little").hex()
    assert size(FUNCTION + call, 0) == 8


def test_an_indirect_jump_forbids_unless_it_cannot_be_a_table() -> None:
    for jump in ("ffe0", "41ffe3", "ff24c500000000"):
        assert size(FUNCTION + jump, 0) == 0
        assert size(FUNCTION + jump, 0, thunks=None) == 8
    assert size(FUNCTION + "ffd0", 0) == 8  # a call
    to_thunk = "e9" + (THUNKS[0] - START - 15).to_bytes(4, "little").hex()
    assert size(FUNCTION + to_thunk, 0) == 0
    assert size(FUNCTION + to_thunk, 0, thunks=None) == 8


def test_what_cannot_be_boosted_cannot_be_copied() -> None:
    for second in ("e800000000", "7400", "f4"):
        assert size("55 55" + second + "90909090", 0) == 0
    shift = "c1e004 9090 c3 9090"
    assert size(shift, 0) == 0
    assert size(shift, 0, group_boost=True) == 5


def test_faulting_stack_segment_and_reserved_bytes() -> None:
    assert size(FUNCTION, 0, faulting=4) == 0
    assert size(FUNCTION, 0, faulting=8) == 8
    assert size("8ed0 90909090", 0) == 0
    assert size(FUNCTION, 0, reserved=lambda start, end: start <= START + 7 < end) == 0
    assert size(FUNCTION, 0, reserved=lambda start, end: start <= START + 8 < end) == 8


def test_a_function_that_cannot_be_decoded() -> None:
    assert size(FUNCTION + "c5f800", 0) == 0
    assert size(FUNCTION + "cccccc", 0) == 8


def test_an_opcode_of_avx_is_no_branch() -> None:
    align = "c4e3390fe908"  # vpalignr $8, %xmm1, %xmm8, %xmm5: its opcode is 0F, and no more
    assert size(FUNCTION + align + "c3", 0) == 8
