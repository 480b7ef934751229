"""Before and after the copy in the slot runs."""

from __future__ import annotations

import pytest
from x86_fakes import reader

from kprobesim.arch.x86_64 import (
    Options,
    Stepping,
    flags_after_step,
    flags_for_step,
    is_step_end,
    prepare,
    resume_ip,
)

A, S = 0xFFFF_FFFF_8100_0100, 0xFFFF_FFFF_C000_1230
TF, IF = 0x100, 0x200


def ainsn(code: str, stepping: Stepping, slot: int | None = S):  # type: ignore[no-untyped-def]
    read = reader(A, bytes.fromhex(code))
    return prepare(read, A, slot=slot, options=Options(stepping=stepping))


def test_breakpoint() -> None:
    mov = ainsn("4889e5", "breakpoint")
    assert is_step_end(mov, S + 4)
    assert resume_ip(mov, A, S + 4) == A + 3
    assert not is_step_end(mov, S)
    assert is_step_end(mov, S + 15)
    assert not is_step_end(mov, S + 16)
    assert not is_step_end(ainsn("4889e5", "breakpoint", None), S + 4)


def test_trap() -> None:
    movs = ainsn("f3a4", "trap")
    assert resume_ip(movs, A, S) is None
    assert resume_ip(movs, A, S + 2) == A + 2
    assert resume_ip(movs, A, 0x1234) == 0x1234
    assert resume_ip(movs, A, S + 17) == S + 17
    assert resume_ip(ainsn("f3a4", "trap", None), A, S) == S


@pytest.mark.parametrize("flags", [0x2, 0x202, 0x302, 0x102])
def test_flags(flags: int) -> None:
    stepped, kept = flags_for_step(flags, "breakpoint")
    assert (stepped, kept) == (flags & ~IF, flags & IF)
    assert flags_after_step(stepped | 0x40, kept, "breakpoint") == flags | 0x40
    stepped, kept = flags_for_step(flags, "trap")
    assert stepped == flags & ~IF | TF
    assert kept == flags & (TF | IF)
    assert flags_after_step(stepped | 0x40, kept, "trap") == flags | 0x40
