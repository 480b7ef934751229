"""What the probes' manager must know of an architecture: its breakpoint and how to prepare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from kprobesim.arch import arm64, x86_64
from kprobesim.arch.arm64.constants import BRK_KPROBE, INSN_SIZE, SLOT_SIZE
from kprobesim.arch.x86_64.ftrace import FtraceInsn
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["ArchInsn", "ArchKprobes", "Site", "Stepping", "arch_kprobes"]

Read = Callable[[int, int], bytes]
Stepping = Literal["breakpoint", "trap"]

_X86_SLOT = 15  # MAX_INSN_SIZE of asm/insn.h, as recorded from a running 6.1: 15 bytes, packed
_DEFAULT_VERSION = (6, 1)  # of an image that does not tell


class ArchInsn(Protocol):
    """``struct arch_specific_insn``: how a probed instruction is executed."""

    @property
    def insn(self) -> int | None:
        """The slot's address; ``None`` if there is none."""

    @property
    def size(self) -> int:
        """Length of the instruction in bytes."""

    @property
    def boostable(self) -> bool:
        """Whether the slot jumps back by itself."""

    @property
    def emulate(self) -> Callable[[Any, Any], None] | None:
        """``emulate(regs, memory)`` does what the instruction does, instead of the slot."""

    @property
    def emulate_kind(self) -> str | None:
        """What is emulated: "jcc", "call", "b_cond" ..."""

    @property
    def slot_bytes(self) -> bytes:
        """What the slot holds."""


@dataclass(frozen=True)
class Site:
    """A probe point as the checks found it."""

    address: int
    symbol_start: int
    has_exception_entry: bool
    has_post_handler: bool
    ftrace: bool
    """The probe goes through ftrace (KPROBES_ON_FTRACE)."""


@dataclass(frozen=True)
class ArchKprobes:
    """``breakpoint`` is written over the first ``len(breakpoint)`` bytes of the instruction;
    the trap's program counter is ``breakpoint_trap_offset`` behind its start. ``repeats``: a
    single step may end on the same instruction (x86 REP)."""

    breakpoint: bytes
    breakpoint_trap_offset: int
    trap_number: int
    slot_size: int
    repeats: bool
    prepare: Callable[[Site, Read, Read, int], ArchInsn]

    def memory_trap(self, error: GuestMemoryError) -> Trap:
        """The page fault of an emulated instruction that could not reach its operand."""
        access = "write" if error.what == "write" else "read"
        return Trap(TrapKind.PAGE_FAULT, 14, 0, error.address, access)


def arch_kprobes(image: KernelImage, stepping: Stepping) -> ArchKprobes:
    """The architecture's half for the kernel in ``image``."""
    version = image.version[:2] if len(image.version) >= 2 else _DEFAULT_VERSION
    if image.arch == "x86_64":
        return _x86_64((version[0], version[1]), image.preemptible, stepping)
    return _arm64((version[0], version[1]), stepping)


def _x86_64(version: tuple[int, int], preemptible: bool, stepping: Stepping) -> ArchKprobes:
    refuse_exception_insns = version >= (6, 13)  # UD2, INT n ...: can_probe() refuses them since

    def prepare(site: Site, original: Read, live: Read, slot: int) -> ArchInsn:
        if site.ftrace:
            return FtraceInsn(site.address)
        x86_64.check_boundary(
            original,
            site.symbol_start,
            site.address,
            refuse_exception_insns=refuse_exception_insns,
        )
        options = x86_64.Options(
            slot_size=_X86_SLOT,
            preemptible=preemptible,
            stepping=stepping,
            has_post_handler=site.has_post_handler,
            has_exception_entry=site.has_exception_entry,
        )
        return x86_64.prepare(original, site.address, slot=slot, options=options)

    return ArchKprobes(
        breakpoint=bytes([x86_64.INT3]),
        breakpoint_trap_offset=1,
        trap_number=3,
        slot_size=_X86_SLOT,
        repeats=True,
        prepare=prepare,
    )


def _arm64(version: tuple[int, int], stepping: Stepping) -> ArchKprobes:
    kernel = replace(arm64.Options.of_kernel(version), stepping=stepping)

    def prepare(site: Site, original: Read, live: Read, slot: int) -> ArchInsn:
        options = replace(
            kernel,
            has_exception_entry=site.has_exception_entry,
            symbol_start=site.symbol_start,
        )
        return arm64.prepare(original, site.address, slot=slot, options=options, read_live=live)

    return ArchKprobes(
        breakpoint=BRK_KPROBE.to_bytes(INSN_SIZE, "little"),
        breakpoint_trap_offset=0,
        trap_number=0x3C,
        slot_size=SLOT_SIZE,
        repeats=False,
        prepare=prepare,
    )
