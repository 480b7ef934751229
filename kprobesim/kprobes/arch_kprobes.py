"""What the probes' manager must know of an architecture: its breakpoint and how to prepare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Protocol

from kprobesim.arch import arm64, x86_64
from kprobesim.arch.architecture import ARM64, X86_64, Architecture, halves
from kprobesim.arch.arm64.constants import SLOT_SIZE, brk_imm
from kprobesim.arch.x86_64.ftrace import FtraceInsn
from kprobesim.image import KernelImage
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.model import Model, Vanished
from kprobesim.kprobes.rules.site import Site
from kprobesim.late_dataclasses import dataclass

__all__ = ["ArchInsn", "ArchKprobes", "Stepping", "arch_kprobes"]

Read = Callable[[int, int], bytes]
Stepping = Literal["breakpoint", "trap"]


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

    @property
    def fix_up(self) -> Callable[[Any, Any, int], None] | None:
        """``fix_up(regs, memory, old_flags)`` puts right what a stepped branch has done."""

    @property
    def late_boost(self) -> bytes | None:
        """What to append to the slot after the first step, to boost it from then on."""

    @property
    def falls_through(self) -> bool:
        """Whether the instruction behind it comes next, if it does not fault."""

    @property
    def repeats(self) -> bool:
        """Whether it comes to itself until it is done (x86 REP)."""

    @property
    def ends_block(self) -> bool:
        """Whether Unicorn goes on in another block behind an emulated one."""

    @property
    def shadows(self) -> bool:
        """Whether interrupts wait until the instruction behind it is done (x86 STI)."""

    def boosted(self) -> ArchInsn:
        """With ``late_boost`` done."""


@dataclass(frozen=True)
class ArchKprobes:
    """What an architecture's kprobes are like.

    ``isa`` has its breakpoint. ``repeats``: a single step may end on the same instruction (x86
    REP). ``fixes_up``: what was stepped may have been a branch (:attr:`ArchInsn.fix_up`).
    ``boost_ends_at_post``: a boosted copy is stepped all the same once there is a post_handler.
    ``fatal``: the states in which another hit is a BUG. ``saves_flags_at_hit``: stepping gives back
    the masked flags of the hit, whatever a pre_handler has made of them; else those that it left.
    ``nesting_saves_flags``: they are remembered with the outer hit. ``vanished``: what a breakpoint
    without a probe means. ``syncs``: who takes one out waits for the traps of other CPUs.
    """

    isa: Architecture
    slot_size: int
    repeats: bool
    fixes_up: bool
    boost_ends_at_post: bool
    fatal: int
    saves_flags_at_hit: bool
    nesting_saves_flags: bool
    vanished: Vanished
    syncs: bool
    bug_file: str
    is_breakpoint: Callable[[bytes], bool]
    prepare: Callable[[Site, Read, Read, int], ArchInsn]


def arch_kprobes(
    image: KernelImage, stepping: Stepping, model: Model, *, strict: bool = False
) -> ArchKprobes:
    """The architecture's half of ``model`` for the kernel in ``image``."""
    return _HALVES[image.arch](image, stepping, model, strict)


def _x86_64(image: KernelImage, stepping: Stepping, model: Model, strict: bool) -> ArchKprobes:
    x86 = model.x86
    fixes_up = stepping == x86.stepping == "trap"
    kernel = x86_64.Options(
        slot_size=x86.slot_size,
        preemptible=image.preemptible,
        strict=strict,
        stepping=stepping,
        emulates=not fixes_up,
        boost=x86.boost,
        wide_boost_table=x86.wide_boost_table,
        group_boost=x86.group_boost,
        unboostable_prefixes=x86.unboostable_prefixes,
    )

    variants = {
        (post_handler, exception_entry): replace(
            kernel, has_post_handler=post_handler, has_exception_entry=exception_entry
        )
        for post_handler in (False, True)
        for exception_entry in (False, True)
    }

    def prepare(site: Site, original: Read, live: Read, slot: int) -> ArchInsn:
        if site.ftrace:
            return FtraceInsn(site.address)
        x86_64.check_boundary(
            original,
            site.symbol_start,
            site.address,
            refuse_exception_insns=x86.refuse_exception_insns,
            int3_ends_walk=x86.int3_ends_walk,
            cfi_traps=image.cfi_traps if x86.refuse_cfi_checks else frozenset(),
        )
        options = variants[site.has_post_handler, site.has_exception_entry]
        return x86_64.prepare(original, site.address, slot=slot, options=options)

    return ArchKprobes(
        isa=X86_64,
        slot_size=x86.slot_size,
        repeats=True,
        fixes_up=fixes_up,
        boost_ends_at_post=x86.boost != "when prepared",
        fatal=KprobeStatus.KPROBE_REENTER,
        saves_flags_at_hit=True,
        nesting_saves_flags=True,
        vanished=x86.vanished,
        syncs=x86.syncs,
        bug_file="arch/x86/kernel/kprobes/core.c",
        is_breakpoint=lambda code: code[0] == x86_64.INT3,
        prepare=prepare,
    )


def _arm64(image: KernelImage, stepping: Stepping, model: Model, strict: bool) -> ArchKprobes:
    kernel = arm64.Options(
        stepping=stepping,
        slot_size=SLOT_SIZE if stepping == "breakpoint" else model.arm64.slot_size,
        strict=strict,
        simulate_nop=model.arm64.simulate_nop,
        refuse_unknown_hints=model.arm64.refuse_unknown_hints,
        narrow_exclusives=model.arm64.narrow_exclusives,
        refuse_mops=model.arm64.refuse_mops,
    )
    variants = {known: replace(kernel, has_exception_entry=known) for known in (False, True)}
    fatal = int(KprobeStatus.KPROBE_REENTER)
    if strict and not model.arm64.reenter_while_stepping:
        fatal |= KprobeStatus.KPROBE_HIT_SS

    def prepare(site: Site, original: Read, live: Read, slot: int) -> ArchInsn:
        return arm64.prepare(
            original,
            site.address,
            slot=slot,
            options=variants[site.has_exception_entry],
            read_live=live,
            symbol_start=site.symbol_start,
        )

    return ArchKprobes(
        isa=ARM64,
        slot_size=kernel.slot_size,
        repeats=False,
        fixes_up=False,
        boost_ends_at_post=False,
        fatal=fatal,
        saves_flags_at_hit=False,
        nesting_saves_flags=model.arm64.nesting_saves_daif or not strict,
        vanished=model.arm64.vanished,
        syncs=model.arm64.syncs,
        bug_file="arch/arm64/kernel/probes/kprobes.c",
        is_breakpoint=lambda code: brk_imm(int.from_bytes(code, "little")) is not None,
        prepare=prepare,
    )


_HALVES = halves(x86_64=_x86_64, arm64=_arm64)
