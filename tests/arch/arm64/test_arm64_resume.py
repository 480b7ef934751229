"""Breakpoint encodings, PSTATE around a step, and where to go on."""

from __future__ import annotations

import pytest
from arm64_fakes import code
from hypothesis import given
from hypothesis import strategies as st

from kprobesim.arch.arm64 import (
    faulted_in_slot,
    finish_step,
    prepare,
    resume_pc,
    start_step,
    step_end,
)
from kprobesim.arch.arm64.constants import (
    BRK_KPROBE,
    BRK_KPROBE_STEP,
    BRK_KRETPROBE,
    KPROBE_BRK_IMM,
    PSR_D,
    PSR_I,
    PSR_SS,
    brk,
    brk_imm,
    esr_brk,
)

A, SLOT = 0xFFFF_8000_0801_0000, 0xFFFF_8000_09AF_5008
DAIF = 0x3C0


def test_breakpoints() -> None:
    assert (BRK_KPROBE, BRK_KPROBE_STEP, BRK_KRETPROBE) == (0xD4200080, 0xD42000C0, 0xD42000E0)
    assert esr_brk(KPROBE_BRK_IMM) == 0xF2000004


@given(st.integers(0, 0xFFFF))
def test_breakpoint_immediates(imm: int) -> None:
    assert brk_imm(brk(imm)) == imm
    assert brk_imm(brk(imm) | 1) is None


@given(st.integers(0, (1 << 32) - 1))
def test_a_breakpoint_step_masks_everything(pstate: int) -> None:
    stepping, saved = start_step(pstate)
    assert stepping == pstate | DAIF
    assert finish_step(stepping, saved) == pstate & ~PSR_SS


@given(st.integers(0, (1 << 32) - 1))
def test_a_trapping_step_lets_debug_exceptions_in(pstate: int) -> None:
    stepping, saved = start_step(pstate, "trap")
    assert stepping & (PSR_D | PSR_I | PSR_SS) == PSR_I | PSR_SS
    assert (stepping ^ pstate) & ~(PSR_D | PSR_I | PSR_SS) == 0
    assert finish_step(stepping, saved) == pstate & ~PSR_SS


def test_flags_that_the_instruction_sets_survive() -> None:
    stepping, saved = start_step(0x0000_0085)
    assert finish_step(stepping | 0x6000_0000, saved) == 0x6000_0085


@pytest.mark.parametrize(("word", "stepped"), [(0x91000400, True), (0x14000004, False)])
def test_where_to_go_on(word: int, stepped: bool) -> None:
    ainsn = prepare(code([word], A), A, slot=SLOT)
    if stepped:
        assert step_end(ainsn) == SLOT + 4
        assert resume_pc(ainsn, A, SLOT + 4) == A + 4
        assert [faulted_in_slot(ainsn, pc) for pc in (SLOT, SLOT + 4, A)] == [True, False, False]
    else:
        assert step_end(ainsn) is None
        assert resume_pc(ainsn, A, A + 16) == A + 16
        assert not faulted_in_slot(ainsn, SLOT)
