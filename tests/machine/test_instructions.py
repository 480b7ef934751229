"""Instructions do in a guest what they do on a CPU, or what the books say, with random operands."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from makers import arm64_book
from makers.native_x86 import (
    KNOWN,
    NATIVE,
    STATE,
    Form,
    GuestRunner,
    differences,
    make_states,
    run_natively,
    table,
)

from kprobesim import GuestFault, Kernel, TrapKind
from kprobesim.kernel.called import CalledKernel

SAMPLE = Path(__file__).parents[2] / "samples/guest-x86_64.elf"

_STATES = 6


@pytest.fixture(scope="module")
def kernel() -> CalledKernel:
    """An x86-64 guest."""
    return Kernel.load(SAMPLE)


@pytest.fixture(scope="module")
def x86(kernel: CalledKernel) -> GuestRunner:
    """The same, for forms of the table."""
    return GuestRunner(kernel, _STATES)


@pytest.mark.skipif(not NATIVE, reason="this host's CPU is of another kind")
def test_a_guest_computes_what_this_cpu_computes(x86: GuestRunner) -> None:
    forms = [form for form in table() if form.text not in KNOWN]
    jobs = [(form, make_states(form, _STATES)) for form in forms]
    wrong = []
    for (form, before), native in zip(jobs, run_natively(jobs), strict=True):
        if isinstance(native, int):
            continue  # this CPU has no such instruction
        found = x86.run(form, before)
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
    x86: GuestRunner, code: str, rbx: int, rcx: int, rax: int, flags: str
) -> None:
    form = Form(bytes.fromhex(code), code, 0, "")
    before = struct.pack("<4Q80xQ200x", 0, rcx, 5, rbx, 0x202)
    after = x86.run(form, before)
    assert struct.unpack_from("<Q", after)[0] == rax
    (seen,) = struct.unpack_from("<Q", after, 112)
    assert "".join(name for name, bit in (("C", 1), ("Z", 64), ("S", 128)) if seen & bit) == flags


def test_an_operand_that_cannot_be_reached_faults(kernel: CalledKernel) -> None:
    at = kernel.alloc(16, executable=True)
    kernel.write(at, bytes.fromhex("c4e2f8f31fc3"))  # blsi rax, [rdi]; ret
    with pytest.raises(GuestFault) as fault:
        kernel.call(at, 0x10)
    assert fault.value.trap.address == 0x10


VALUES = (0, 1, 7, 0x80, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 63, (1 << 63) - 1)


def test_arm64_computes_what_the_book_says() -> None:
    kernel = Kernel.load(SAMPLE.with_name("guest-arm64.elf"))
    draw = random.Random(0)

    def pick(number: int) -> int:
        return draw.choice(VALUES) if number % 2 else draw.getrandbits(64)

    wrong = []
    table = arm64_book.table()
    area = kernel.alloc(16 * len(table), executable=True)
    routines = [(code + struct.pack("<I", 0xD65F03C0)).ljust(16, b"\0") for code, _ in table]
    kernel.write(area, b"".join(routines))
    for at, (_, text) in zip(range(area, area + 16 * len(table), 16), table, strict=True):
        for number in range(16):
            flags = draw.getrandbits(4) << 28
            operands = pick(number), pick(number), flags if "msr" in text else pick(number)
            got, right = kernel.call(at, *operands), arm64_book.result(text, *operands)
            if got != right:
                shown = ", ".join(f"{value:#x}" for value in operands)
                wrong.append(f"{text} of {shown}: {got:#x}, right: {right:#x}")
    assert not wrong


def test_arm64_offers_only_what_it_has() -> None:
    """By ID_AA64ISAR0_EL1 and ID_AA64ISAR1_EL1: CRC32, but neither LSE's atomics nor PAuth."""
    kernel = Kernel.load(SAMPLE.with_name("guest-arm64.elf"))

    def run(*words: int) -> int:
        at = kernel.alloc(64, executable=True)
        kernel.write(at, struct.pack(f"<{len(words) + 1}I", *words, 0xD65F03C0))
        return int(kernel.call(at, 0, 0, 0))

    isar0, isar1 = run(0xD5380600), run(0xD5380620)  # mrs x0, id_aa64isar0_el1 / isar1_el1
    assert isar0 >> 16 & 15 == 1
    assert isar0 >> 20 & 15 == 0
    with pytest.raises(GuestFault) as fault:
        run(0x910003E0, 0xF8210000)  # mov x0, sp; ldadd x1, x0, [x0]
    assert fault.value.trap.kind is TrapKind.UNDEFINED
    assert isar1 & 0xFF0 == 0
