"""Instructions do in a guest what they do on a CPU: 1,250 of x86-64, with random operands."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from makers.native_x86 import (
    NATIVE,
    STATE,
    Form,
    differences,
    make_states,
    run_in_guest,
    run_natively,
    table,
)

from kprobesim import GuestFault, Kernel
from kprobesim.kernel.called import CalledKernel

SAMPLE = Path(__file__).parents[2] / "samples/guest-x86_64.elf"

KNOWN = {"cmpxchg ebx, ecx"}
"""Where it fails, Unicorn clears the upper half of the register; nobody compiles this form."""


@pytest.fixture(scope="module")
def x86() -> CalledKernel:
    """A guest whose CPU is like this host's."""
    return Kernel.load(SAMPLE)


@pytest.mark.skipif(not NATIVE, reason="this host's CPU is of another kind")
def test_a_guest_computes_what_this_cpu_computes(x86: CalledKernel) -> None:
    forms = [form for form in table() if form.text not in KNOWN]
    jobs = [(form, make_states(form, 6)) for form in forms]
    wrong = []
    for (form, before), native in zip(jobs, run_natively(jobs), strict=True):
        if isinstance(native, int):
            continue  # this CPU has no such instruction
        found = run_in_guest(x86, form, before)
        for at in range(0, len(before), STATE):
            wrong += [
                f"{form.text}: {text}"
                for text in differences(form, found[at : at + STATE], native[at : at + STATE])
            ]
    assert not wrong


# By the SDM's pseudo-code (volume 2), for hosts of other kinds, too: RAX afterwards, and which of
# CF, ZF and SF are set. RBX and RCX are the operands.
BY_THE_BOOK = [
    ("c4e2f8f3db", 0x50, 0, 0x10, "C"),  # blsi rax, rbx
    ("c4e2f8f3db", 0, 0, 0, "Z"),
    ("c4e2f0f5c3", 0xFFFF, 8, 0xFF, ""),  # bzhi rax, rbx, rcx
    ("c4e2f0f5c3", 1 << 63, 64, 1 << 63, "CS"),
    ("c4e270f5c3", 0x1_8000_0000, 32, 0x8000_0000, "CS"),  # bzhi eax, ebx, ecx
    ("c4e270f7c3", 0xFFFF_FFFF_8000_0000, 0x201F, 1, ""),  # bextr eax, ebx, ecx
    ("c4e273f5c3", 0xFFFF_FFFF_0000_00FF, 0xFF_FFFF_FFF0, 0xF0, ""),  # pdep eax, ecx, ebx
]


@pytest.mark.parametrize(("code", "rbx", "rcx", "rax", "flags"), BY_THE_BOOK)
def test_bit_instructions_by_the_book(
    x86: CalledKernel, code: str, rbx: int, rcx: int, rax: int, flags: str
) -> None:
    form = Form(bytes.fromhex(code), code, 0, "")
    before = struct.pack("<4Q80xQ200x", 0, rcx, 5, rbx, 0x202)
    after = run_in_guest(x86, form, before)
    assert struct.unpack_from("<Q", after)[0] == rax
    (seen,) = struct.unpack_from("<Q", after, 112)
    assert "".join(name for name, bit in (("C", 1), ("Z", 64), ("S", 128)) if seen & bit) == flags


def test_an_operand_that_cannot_be_reached_faults(x86: CalledKernel) -> None:
    at = x86.alloc(16, executable=True)
    x86.write(at, bytes.fromhex("c4e2f8f31fc3"))  # blsi rax, [rdi]; ret
    with pytest.raises(GuestFault) as fault:
        x86.call(at, 0x10)
    assert fault.value.trap.address == 0x10
