"""One record an architecture: the numbers and bytes that the rooms above would each write down.

To add an architecture, fill one in; then see ``arch/*/`` for its instructions and ``machine/`` for
its CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.arch.arm64.constants import BRK_KRETPROBE

__all__ = ["ARCHITECTURES", "ARM64", "X86_64", "Architecture", "architecture"]


@dataclass(frozen=True)
class Architecture:
    """What is to be known of an architecture without a CPU.

    Attributes:
        name: As everywhere in this project.
        page_offset: Where the direct map of all RAM starts.
        vmalloc_start: Where mappings of ours start, such as stacks.
        modules_start: The modules' area, within reach of the kernel's calls.
        slot_area: Where a verdict takes the slot of a probe to be.
        trap: An instruction that only traps, and is in every kernel's code; at a multiple of
            ``trap_align``.
        trap_fill: What freed code is filled with: each instruction of it traps.
        trampoline_trap: The breakpoint that calls return to which return probes follow.
    """

    name: str
    page_offset: int
    vmalloc_start: int
    modules_start: int
    slot_area: int
    trap: bytes
    trap_align: int
    trap_fill: bytes
    trampoline_trap: bytes


X86_64 = Architecture(
    name="x86_64",
    page_offset=0xFFFF_8880_0000_0000,  # Documentation/x86/x86_64/mm.rst
    vmalloc_start=0xFFFF_C900_0000_0000,
    modules_start=0xFFFF_FFFF_C000_0000,
    slot_area=0xFFFF_FFFF_C000_0000,
    trap=b"\xcc",  # int3
    trap_align=1,
    trap_fill=b"\xcc",
    trampoline_trap=b"\xcc",
)
ARM64 = Architecture(
    name="arm64",
    page_offset=0xFFFF_0000_0000_0000,  # Documentation/arm64/memory.rst
    vmalloc_start=0xFFFF_8001_0000_0000,
    modules_start=0xFFFF_8000_0000_0000,
    slot_area=0,
    trap=b"\x00\x00\x21\xd4",  # brk #0x800
    trap_align=4,
    trap_fill=b"\0",  # udf #0
    trampoline_trap=BRK_KRETPROBE.to_bytes(4, "little"),
)
ARCHITECTURES = {each.name: each for each in (X86_64, ARM64)}


def architecture(name: str) -> Architecture:
    """The record of that name, which an image, a machine or a CPU has as its ``arch``."""
    return ARCHITECTURES[name]
