"""One record an architecture: the numbers, bytes and names that every room would write down.

To add an architecture, fill one in and give :func:`halves` another parameter: mypy then names each
table that lacks its half. Its instructions belong into a folder beside ``x86_64/``, its CPU into
``machine/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from kprobesim.arch.abi import AAPCS64, SYSTEM_V, Abi
from kprobesim.arch.arm64.constants import BRK_KPROBE, BRK_KRETPROBE
from kprobesim.arch.trap_kind import TrapKind
from kprobesim.late_dataclasses import dataclass

__all__ = ["ARCHITECTURES", "ARM64", "X86_64", "Architecture", "architecture", "halves"]

Half = TypeVar("Half")


@dataclass(frozen=True)
class Architecture:
    """What is to be known of an architecture without a CPU.

    Attributes:
        name: As everywhere in this project.
        debian: As Debian calls it.
        elf_machine: ``e_machine`` of its ELF files.
        syscall_prefix: What stands before the name of a system call in that of its function, which
            finds the arguments in a ``struct pt_regs`` (asm/syscall_wrapper.h; x86 since 4.17,
            ARM64 since 4.19).
        abi: Its registers and its calling convention.
        ram_base: The physical address of our guests' RAM.
        page_offset: Where the direct map of all RAM starts.
        vmalloc_start: Where mappings of ours start, such as stacks.
        modules_start: The modules' area, within reach of the kernel's calls.
        slot_area: Where a verdict takes the slot of a probe to be.
        insn_align: Instructions begin at multiples of it.
        breakpoint: What a kprobe writes over an instruction.
        breakpoint_name: As people call that.
        breakpoint_offset: How far behind its start the trap's program counter is.
        breakpoint_number: The number of its trap.
        page_fault_number: That of a kernel's access to data that are not there.
        trap_kinds: The kernel's trap numbers (x86: the vector; ARM64: the exception class, bits
            31:26 of the ESR).
        bug_traps: What BUG() and WARN() compile to: how these instructions begin.
        bug_size: How long they are; what WARN() goes on behind.
        trap: An instruction that only traps, and is in every kernel's code.
        trap_fill: What freed code is filled with: each instruction of it traps.
        trampoline_trap: The breakpoint that calls return to which return probes follow.
        optprobes: Whether its kernels know jump-optimised probes (CONFIG_HAVE_OPTPROBES).
    """

    name: str
    debian: str
    elf_machine: int
    syscall_prefix: str
    abi: Abi
    ram_base: int
    page_offset: int
    vmalloc_start: int
    modules_start: int
    slot_area: int
    insn_align: int
    breakpoint: bytes
    breakpoint_name: str
    breakpoint_offset: int
    breakpoint_number: int
    page_fault_number: int
    trap_kinds: Mapping[int, TrapKind]
    bug_traps: tuple[bytes, ...]
    bug_size: int
    trap: bytes
    trap_fill: bytes
    trampoline_trap: bytes
    optprobes: bool


_INT3 = b"\xcc"
X86_64 = Architecture(
    name="x86_64",
    debian="amd64",
    elf_machine=62,
    syscall_prefix="__x64_sys_",
    abi=SYSTEM_V,
    ram_base=0,
    page_offset=0xFFFF_8880_0000_0000,  # Documentation/x86/x86_64/mm.rst
    vmalloc_start=0xFFFF_C900_0000_0000,
    modules_start=0xFFFF_FFFF_C000_0000,
    slot_area=0xFFFF_FFFF_C000_0000,
    insn_align=1,
    breakpoint=_INT3,
    breakpoint_name="int3",
    breakpoint_offset=1,
    breakpoint_number=3,
    page_fault_number=14,
    trap_kinds={
        0: TrapKind.DIVIDE,
        1: TrapKind.STEP,
        3: TrapKind.BREAKPOINT,
        6: TrapKind.UNDEFINED,
        13: TrapKind.PROTECTION,
        14: TrapKind.PAGE_FAULT,
        17: TrapKind.ALIGNMENT,
    },
    # UD2, UD1 with an operand-size prefix (6.14), UDB (6.17)
    bug_traps=(b"\x0f\x0b", b"\x67\x0f\xb9", b"\x67\x48\x0f\xb9", b"\xd6"),
    bug_size=2,
    trap=_INT3,
    trap_fill=_INT3,
    trampoline_trap=_INT3,
    optprobes=True,
)
_BRK_BUG = b"\x00\x00\x21\xd4"  # brk #0x800
ARM64 = Architecture(
    name="arm64",
    debian="arm64",
    elf_machine=183,
    syscall_prefix="__arm64_sys_",
    abi=AAPCS64,
    ram_base=0x4000_0000,  # QEMU's board "virt"
    page_offset=0xFFFF_0000_0000_0000,  # Documentation/arm64/memory.rst
    vmalloc_start=0xFFFF_8001_0000_0000,
    modules_start=0xFFFF_8000_0000_0000,
    slot_area=0,
    insn_align=4,
    breakpoint=BRK_KPROBE.to_bytes(4, "little"),
    breakpoint_name="brk",
    breakpoint_offset=0,
    breakpoint_number=0x3C,
    page_fault_number=0x25,
    # asm/esr.h: ESR_ELx_EC_*
    trap_kinds={
        0x00: TrapKind.UNDEFINED,
        0x21: TrapKind.PAGE_FAULT,
        0x25: TrapKind.PAGE_FAULT,
        0x32: TrapKind.STEP,
        0x33: TrapKind.STEP,
        0x3C: TrapKind.BREAKPOINT,
    },
    bug_traps=(_BRK_BUG,),
    bug_size=4,
    trap=_BRK_BUG,
    trap_fill=b"\0",  # udf #0
    trampoline_trap=BRK_KRETPROBE.to_bytes(4, "little"),
    optprobes=False,
)
ARCHITECTURES: Mapping[str, Architecture] = {each.name: each for each in (X86_64, ARM64)}
"""All of them by name."""


def architecture(name: str) -> Architecture:
    """The record of that name, which an image, a machine or a CPU has as its ``arch``."""
    return ARCHITECTURES[name]


def halves(*, x86_64: Half, arm64: Half) -> Mapping[str, Half]:
    """A room's table of what it does, not only knows, differently: by an architecture's name."""
    return {X86_64.name: x86_64, ARM64.name: arm64}
