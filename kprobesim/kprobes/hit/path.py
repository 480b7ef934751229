"""All the ways that one CPU has to a probe, and on behind it."""

from __future__ import annotations

from kprobesim.kprobes.arch_kprobes import ArchKprobes, Stepping
from kprobesim.kprobes.copies import OutOfLineCopies
from kprobesim.kprobes.ctlblk import KprobeCtlblk
from kprobesim.kprobes.events import HitListeners
from kprobesim.kprobes.hit.breakpoint import BreakpointHits
from kprobesim.kprobes.hit.common import HitSteps
from kprobesim.kprobes.hit.hook import HookHits
from kprobesim.kprobes.hit.single_step import make_step_trap
from kprobesim.kprobes.hooked import HookedPlaces
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.machine.vcpu import Vcpu

__all__ = ["HitPath"]


class HitPath:
    """One CPU's path of a hit, over the table that all CPUs share.

    Attributes:
        steps: What all hits have in common.
        breakpoints: Hits of breakpoints, and of ours at fixed places.
        hooks: Hits of hooks.
        step: The trap behind a single step; it answers whether it was a probe's.
    """

    def __init__(
        self,
        vcpu: Vcpu,
        arch: ArchKprobes,
        table: dict[int, Kprobe],
        copies: OutOfLineCopies,
        hooked: HookedPlaces,
        ctlblk: KprobeCtlblk,
        listeners: HitListeners,
        *,
        stepping: Stepping,
        strict: bool = False,
        guest_has_traps: bool = False,
    ) -> None:
        """Build the path.

        Args:
            vcpu: The CPU.
            arch: The architecture's half.
            table: The probe, or the head of several, by address.
            copies: Those that run by themselves.
            hooked: Where probes are hooks.
            ctlblk: What the CPU knows of the probe that it is handling.
            listeners: Who hears of it.
            stepping: How copies are stepped; what is under a hook is by the CPU's own step.
            strict: A breakpoint that older kernels would hit again and again is hit so.
            guest_has_traps: The guest takes traps itself, and knows better whose they are.
        """
        self.steps = steps = HitSteps(vcpu, arch, ctlblk, listeners)
        self.hooks = HookHits(steps, table, hooked)
        copied = stepping == "trap"
        self.breakpoints = BreakpointHits(steps, table, single_step=copied, strict=strict)
        self.breakpoints.alone = not guest_has_traps
        self.step = make_step_trap(steps, self.hooks, table, copies, copied=copied)
