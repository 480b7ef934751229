"""Which words are refused, stepped and simulated."""

from __future__ import annotations

import pytest
from arch.arm64.arm64_fakes import code
from hypothesis import given
from hypothesis import strategies as st

from kprobesim.arch.arm64 import Insn, Options, check_exclusive_sequence, classify, needs_slot
from kprobesim.arch.arm64.constants import BRK_KPROBE
from kprobesim.arch.arm64.decode import emulate_kind, why_rejected
from kprobesim.arch.arm64.insn import PATTERNS

START = 0xFFFF_8000_0800_0000
NOP, ADD = 0xD503201F, 0x91000400
LDXR, STXR, LDAR, STLR = 0xC85F7C20, 0xC8027C20, 0xC8DFFC20, 0xC89FFC20

SIMULATED = {
    "b_bl": [0x14000002, 0x97FFFFFF],
    "b_cond": [0x54000080, 0x5400008E],
    "cbz_cbnz": [0xB4000040, 0x34000040, 0xB500005F],
    "tbz_tbnz": [0xB6F80041, 0x3707FFC1],
    "adr_adrp": [0x30000000, 0x90000000],
    "ldr_literal": [0x58000040, 0x18000040],
    "ldrsw_literal": [0x98000040],
    "br_blr_ret": [0xD63F03C0, 0xD61F0220, 0xD65F03C0, 0xD65F00A0],
}
STEPPED = """
    D503201F D503233F D50320FF D503245F D50324DF D5033FDF D5033BBF D5033F9F D50330FF D5033F5F
    D53B4200 D5384100 C8DFFC20 C89FFC20 C8A07C22 C8E07C22 F8200041 F8208041 A9BF7BFD A8C17BFD
    910003FD F9400420 F9800000 D50B7B20 D508871F D508711F 00000000 FFFFFFFF D6BF03E0
"""
REJECTED = """
    D503203F D503205F D503207F D503209F D50323BF D503221F D503229F D53B4220 D50342DF D518D080
    D4000001 D4000002 D4200020 D4400000 D69F03E0 D65F0BFF D71F0801 C85F7C20 C8027C20 885FFC20
    8802FC20 C87F0440 48207C82 48607C82 D8000040 D500401F
"""


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("kind", "word"), [(kind, word) for kind, group in SIMULATED.items() for word in group]
)
def test_simulated(kind: str, word: int) -> None:
    assert classify(word) is Insn.GOOD_NO_SLOT
    assert emulate_kind(word) == kind
    assert not needs_slot(word)


@pytest.mark.parametrize("word", words(STEPPED))
def test_stepped(word: int) -> None:
    assert classify(word) is Insn.GOOD
    assert emulate_kind(word) is None
    assert needs_slot(word)


@pytest.mark.parametrize("word", words(REJECTED))
def test_rejected(word: int) -> None:
    assert classify(word) is Insn.REJECTED
    assert why_rejected(word)
    assert not needs_slot(word)


def test_nop_is_simulated_by_newer_kernels() -> None:
    assert emulate_kind(NOP, Options(simulate_nop=True)) == "nop"
    assert classify(NOP, Options()) is Insn.GOOD
    assert classify(NOP, Options(simulate_nop=True)) is Insn.GOOD_NO_SLOT


@pytest.mark.parametrize("word", [0x9C000080, 0x5C000080, 0x1C000080, 0x54000090])
def test_what_the_kernel_runs_in_the_wrong_place(word: int) -> None:
    assert classify(word, Options(strict=True)) is Insn.GOOD
    assert classify(word) is Insn.GOOD_NO_SLOT


def test_an_unallocated_literal_load_is_left_to_the_cpu() -> None:
    assert classify(0xDC000080) is Insn.GOOD


@pytest.mark.parametrize("imm", range(128))
def test_hints_before_5_8(imm: int) -> None:
    """Whatever does not wait or signal passed for a NOP: ``autiasp``, ``esb``, ``csdb`` too."""
    options = Options(refuse_unknown_hints=False)
    refused = classify(NOP | imm << 5, options) is Insn.REJECTED
    assert refused == (1 <= imm <= 5)


def test_mops_are_refused_by_newer_kernels() -> None:
    cpyfp = 0x19010440
    assert classify(cpyfp, Options()) is Insn.GOOD
    assert classify(cpyfp, Options(refuse_mops=True)) is Insn.REJECTED


@pytest.mark.parametrize("imm", range(128))
def test_hints(imm: int) -> None:
    allowed = {0x00, 0x07, 0x08, 0x0A, 0x18, 0x19, 0x1A, 0x1B, 0x20, 0x22, 0x24, 0x26}
    expected = Insn.GOOD if imm in allowed else Insn.REJECTED
    assert classify(NOP & ~0xFE0 | imm << 5) is expected


@given(st.integers(0, (1 << 32) - 1))
def test_every_word_has_one_answer(word: int) -> None:
    for options in (Options(), Options(strict=True), Options(simulate_nop=True, refuse_mops=True)):
        answer = classify(word, options)
        assert (why_rejected(word, options) is not None) == (answer is Insn.REJECTED)
        assert (emulate_kind(word, options) is not None) == (answer is Insn.GOOD_NO_SLOT)
        if options.strict:
            # Being correct where the kernel is not changes how a word runs, never whether.
            assert (classify(word) is Insn.REJECTED) == (answer is Insn.REJECTED)


def test_patterns_have_no_value_bits_outside_their_mask() -> None:
    assert all(not value & ~mask for mask, value in PATTERNS.values())


# -- the scan for an open exclusive sequence -----------------------------------------------------


def scan(body: list[int], index: int, options: Options | None = None) -> int | None:
    """The index of the open load-exclusive that a probe on ``body[index]`` meets."""
    found = check_exclusive_sequence(
        code(body, START), START, START + 4 * index, options or Options()
    )
    return None if found is None else (found - START) // 4


def test_inside_and_behind_a_sequence() -> None:
    body = [LDXR, ADD, STXR, 0xB5FFFFA2, 0xD65F03C0]
    assert [scan(body, index) for index in range(5)] == [None, 0, 0, None, None]
    assert [classify(word) is Insn.REJECTED for word in body] == [True, False, True, False, False]


@pytest.mark.parametrize(("between", "found"), [(0, 0), (31, 0), (32, None), (40, None)])
def test_how_far_back_the_scan_looks(between: int, found: int | None) -> None:
    assert scan([LDXR, *[ADD] * between, NOP], between + 1) == found


def test_the_scan_stops_at_the_symbol() -> None:
    body = [LDXR, ADD, ADD, ADD]
    read = code(body, START)
    assert check_exclusive_sequence(read, START, START + 12) == START
    assert check_exclusive_sequence(read, START + 4, START + 12) is None
    assert check_exclusive_sequence(read, START + 12, START + 12) is None
    assert check_exclusive_sequence(read, None, START + 12) is None


def test_a_breakpoint_hides_what_is_under_it() -> None:
    assert scan([LDAR, ADD, ADD], 2) == 0
    assert scan([BRK_KPROBE, ADD, ADD], 2) is None


@pytest.mark.parametrize(
    ("word", "like_a_load"),
    [(LDAR, True), (0xC8E07C22, True), (STLR, False), (0xC8A07C22, False)],
    ids=["ldar", "casa", "stlr", "cas"],
)
def test_acquire_and_release_fool_kernels_before_6_15(word: int, like_a_load: bool) -> None:
    older, newer = Options(), Options(narrow_exclusives=True)
    assert scan([word, ADD], 1, older) == (0 if like_a_load else None)
    assert scan([word, ADD], 1, newer) is None
    assert scan([LDXR, word, ADD], 2, older) == (1 if like_a_load else None)
    assert scan([LDXR, word, ADD], 2, newer) == 0
