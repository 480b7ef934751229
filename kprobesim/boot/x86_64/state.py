"""The CPU's registers beyond the general ones, live: segments, mode, tables, syscall MSRs.

Unicorn's API refuses to change the privilege level in 64-bit mode, and one of its calls costs more
than a whole exception should. So this is a window on QEMU's ``CPUX86State`` (target/i386/cpu.h),
which starts at the general registers; what is not where it is expected is an error at start.
"""

from __future__ import annotations

import ctypes
from typing import Any

from kprobesim.errors import EngineError
from kprobesim.machine.unicorn.engine import Engine

__all__ = [
    "HF_ADDSEG",
    "HF_CPL",
    "HF_CS32",
    "HF_CS64",
    "HF_INHIBIT_IRQ",
    "HF_SS32",
    "X86State",
    "find_state",
]

_u32, _u64 = ctypes.c_uint32, ctypes.c_uint64

HF_CPL = 3
HF_INHIBIT_IRQ = 1 << 3
HF_CS32 = 1 << 4
HF_SS32 = 1 << 5
HF_ADDSEG = 1 << 6
HF_CS64 = 1 << 15

_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr", "gdt", "idt")
_MSRS = {
    "star": 0xC0000081,
    "lstar": 0xC0000082,
    "cstar": 0xC0000083,
    "fmask": 0xC0000084,
    "kernel_gs_base": 0xC0000102,
}
_SEARCH_BYTES = 0x2000


def _segment(name: str) -> list[tuple[str, Any]]:
    return [
        (f"{name}_selector", _u64),
        (f"{name}_base", _u64),
        (f"{name}_limit", _u32),
        (f"{name}_flags", _u32),
    ]


class X86State(ctypes.Structure):
    """The start of ``CPUX86State``; ``msr`` holds the words of the syscall MSRs by name."""

    _fields_ = (
        ("gpr", _u64 * 16),
        ("rip", _u64),
        ("eflags", _u64),  # without the condition flags and DF
        ("cc_dst", _u64),
        ("cc_src", _u64),
        ("cc_src2", _u64),
        ("cc_op", _u32),
        ("df", ctypes.c_int32),
        ("hflags", _u32),
        ("hflags2", _u32),
        *(field for name in _SEGMENTS for field in _segment(name)),
        ("cr", _u64 * 5),
    )
    msr: dict[str, Any]
    is_int: Any
    """Not 0 if the exception came from an INT instruction."""


def find_state(engine: Engine) -> X86State:
    """The window on ``engine``, checked; the values used for that stay in its registers."""
    base = ctypes.addressof(engine.words)
    state = X86State.from_address(base)
    for number in (2, 3):
        engine.write_register(f"cr{number}", 0x1234_5000 * number)
        _check(state.cr[number] == 0x1234_5000 * number, f"CR{number}")
    engine.write_msr(0xC0000100, 0x7123_4567_0000)
    engine.write_msr(0xC0000101, 0x7654_3210_0000)
    _check(state.fs_base == 0x7123_4567_0000, "FS base")
    _check(state.gs_base == 0x7654_3210_0000, "GS base")
    for name, limit in (("gdt", 0x7F), ("idt", 0xFFF)):
        engine.write_table(name, 0x5432_1000 + limit, limit)
        _check(
            getattr(state, f"{name}_base") == 0x5432_1000 + limit
            and getattr(state, f"{name}_limit") == limit,
            name.upper(),
        )
    state.msr = {}
    for name, number in _MSRS.items():
        value = 0x5AFE_0000_0000 + number
        engine.write_msr(number, value)
        block = ctypes.string_at(base, _SEARCH_BYTES)
        at = block.find(value.to_bytes(8, "little"))
        _check(at >= 0 and at % 8 == 0, f"MSR {number:#x}")
        state.msr[name] = _u64.from_address(base + at)
        engine.write_msr(number, 0)
        _check(state.msr[name].value == 0, f"MSR {number:#x}")
    # int error_code; int exception_is_int; target_ulong exception_next_eip;
    state.is_int = _u32.from_address(base + engine.layout.fields["error_code"] + 4)
    return state


def _check(found: bool, what: str) -> None:
    if not found:
        raise EngineError(f"cannot find the {what} inside Unicorn; is this a new version of it?")
