"""Registers of the system as live words: what translates addresses, and what leads to the task.

Compiled code cannot ask Unicorn for them: a call of its API costs more than all that is compiled.
They lie in the struct of the general registers (:mod:`~kprobesim.machine.unicorn.struct_layout`),
and are found in the same way: two values are written through the API, and the place is the one word
that changed from the first to the second. So they are exact at every moment, also when the guest
switches its page tables in the middle of a run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

from kprobesim.arch.architecture import halves
from kprobesim.arch.arm64.system_registers import (
    SCTLR_EL1,
    SP_EL0,
    TCR_EL1,
    TPIDR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
)
from kprobesim.errors import EngineError
from kprobesim.machine.unicorn import numbers
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.learned import learned
from kprobesim.sizes import MASK64

__all__ = ["control_words", "offsets", "translation_offsets"]

_MARKS = 0x1234_5000, 0x0765_4000  # an address of a page table, or of anything else
_SCTLR_MARKS = 0x30D0_0800, 0x30D0_0804  # RES1, without and with C; no MMU
_TCR_MARKS = 0x0010_0010, 0x0019_0019  # T0SZ and T1SZ
_CR0_MARKS = 0x0001_0013, 0x0001_0033  # WP ET MP PE, without and with NE
_CR4_MARKS = 0x20, 0xA0  # PAE, without and with PGE
_EFER, _EFER_MARKS = 0xC000_0080, (0x500, 0x501)  # LMA LME, without and with SCE

_Write = tuple[int, Any]  # Unicorn's number, and the binding's value


def _msr(number: int, marks: tuple[int, int] = _MARKS) -> list[_Write]:
    return [(numbers.UC_X86_REG_MSR, (number, mark)) for mark in marks]


def _system(encoding: tuple[int, ...], marks: tuple[int, int] = _MARKS) -> list[_Write]:
    return [(numbers.UC_ARM64_REG_CP_REG, (*encoding, mark)) for mark in marks]


_WRITES: Mapping[str, dict[str, list[_Write]]] = halves(
    x86_64={
        "cr0": [(numbers.UC_X86_REG_CR0, mark) for mark in _CR0_MARKS],
        "cr3": [(numbers.UC_X86_REG_CR3, mark) for mark in _MARKS],
        "cr4": [(numbers.UC_X86_REG_CR4, mark) for mark in _CR4_MARKS],
        "efer": _msr(_EFER, _EFER_MARKS),
        "gs_base": _msr(0xC0000101),
        "kernel_gs_base": _msr(0xC0000102),
    },
    arm64={
        "sctlr": _system(SCTLR_EL1, _SCTLR_MARKS),
        "tcr": _system(TCR_EL1, _TCR_MARKS),
        "ttbr0": _system(TTBR0_EL1),
        "ttbr1": _system(TTBR1_EL1),
        "sp_el0": _system(SP_EL0),
        "tpidr": _system(TPIDR_EL1),
    },
)

_ALL = MASK64
_CR4_BITS = 0x72_10A0  # PAE PGE LA57 PCIDE SMEP SMAP PKE; not PSE, which means nothing with PAE
_EFER_BITS = 0xD00  # LME LMA NXE
_TRANSLATION: Mapping[str, dict[str, int]] = halves(
    x86_64={"cr0": _ALL, "cr3": _ALL, "cr4": _CR4_BITS, "efer": _EFER_BITS},
    arm64=dict.fromkeys(("sctlr", "tcr", "ttbr0", "ttbr1"), _ALL),
)
"""And which of their bits."""


@cache
def offsets(arch: str) -> Mapping[str, int]:
    """The bytes from the first general register to each word, by its name.

    Raises:
        EngineError: One cannot be told from others; is this a new version of Unicorn?
    """
    names = _WRITES[arch].keys()
    found: dict[str, int] = learned(
        f"system words of {arch}", lambda: _find_offsets(arch), lambda fact: fact.keys() == names
    )
    return found


def _find_offsets(arch: str) -> dict[str, int]:
    from kprobesim.machine.unicorn.specimen import Specimen

    cpu, found = Specimen(arch), {}
    cpu.set_gpr(0, _BASE)
    base = cpu.context().find(_BASE.to_bytes(8, "little"))
    for name, writes in _WRITES[arch].items():
        seen = []
        for number, value in writes:
            cpu.set_register(number, value)
            seen.append(cpu.context()[base:])
        first, second = (
            (value[-1] if isinstance(value, tuple) else value).to_bytes(8, "little")
            for _, value in writes
        )
        places = [
            at
            for at in range(0, len(seen[0]) - 7, 8)
            if seen[0][at : at + 8] == first and seen[1][at : at + 8] == second
        ]
        if base < 0 or len(places) != 1:
            raise EngineError(
                f"cannot tell where Unicorn keeps {name} ({len(places)} candidates); "
                "is this a new version of it?"
            )
        found[name] = places[0]
    return found


_BASE = 0x0BA5_E0F0_4E61_57E8  # a value of register 0 that nothing else has


def control_words(engine: Engine) -> dict[str, ctypes.c_uint64]:
    """The words of ``engine`` by name, live; they are not for writing."""
    base = ctypes.addressof(engine.words)
    return {
        name: ctypes.c_uint64.from_address(base + at) for name, at in offsets(engine.arch).items()
    }


def translation_offsets(arch: str) -> tuple[tuple[int, int], ...]:
    """Those that say, with what is in memory, what a virtual address means.

    On x86-64 with PAE, as in any kernel that has several CPUs: Linux sets PSE on the first alone.

    Rights are not among them that Unicorn's TLB tells apart by itself: of a privilege level, of
    PSTATE.PAN and of EFLAGS.AC.

    Returns:
        The bytes from the first general register to each, and a mask.
    """
    places = offsets(arch)
    return tuple((places[name], mask) for name, mask in _TRANSLATION[arch].items())
