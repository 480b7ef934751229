"""Breakpoint encodings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kprobesim.arch.arm64.constants import (
    BRK_KPROBE,
    BRK_KPROBE_STEP,
    BRK_KRETPROBE,
    brk,
    brk_imm,
)


def test_breakpoints() -> None:
    assert (BRK_KPROBE, BRK_KPROBE_STEP, BRK_KRETPROBE) == (0xD4200080, 0xD42000C0, 0xD42000E0)


@given(st.integers(0, 0xFFFF))
def test_breakpoint_immediates(imm: int) -> None:
    assert brk_imm(brk(imm)) == imm
    assert brk_imm(brk(imm) | 1) is None
