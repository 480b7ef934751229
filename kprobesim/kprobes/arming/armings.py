"""Which way of stopping the CPU each probe is armed in, and the making of those ways."""

from __future__ import annotations

from typing import Literal, get_args

from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes
from kprobesim.kprobes.arming.breakpoint import BreakpointArming
from kprobesim.kprobes.arming.hook import HookArming
from kprobesim.kprobes.arming.jump import KprobeOptimizer
from kprobesim.kprobes.arming.jump_body import OptimizedCallback
from kprobesim.kprobes.arming.pages import ProbePages, SlotPages
from kprobesim.kprobes.arming.protocol import Arming, HowToArm
from kprobesim.kprobes.arming.slots import SlotCache
from kprobesim.kprobes.cpu_paths import CpuPaths
from kprobesim.kprobes.kprobe import Kprobe, ListType
from kprobesim.kprobes.rules.optimizable import Optimizable
from kprobesim.kprobes.rules.site import Site
from kprobesim.kprobes.table import KprobeTable
from kprobesim.machine.system import System

__all__ = ["Armings", "ProbeArming"]

ProbeArming = Literal["auto", "breakpoint", "hook", "jump"]
"""How one probe is to be armed.

"auto": as the guest's probes are: by hooks, or by breakpoints of which the kernel's optimizer makes
jumps. "breakpoint": by one that stays a breakpoint. "hook": without a change of the guest.
"jump": as "auto" where that is breakpoints, but the jump is written at once, or the probe refused.
"""

_ARMINGS = get_args(ProbeArming)


class Armings:
    """Arms each probe in the way that was chosen for its address (an :class:`Arming` itself).

    Attributes:
        default: The way of those that nothing was chosen for.
        hooks: Arms by hooks.
        optimizer: Makes jumps of breakpoints, where the kernel has that.
        slots: Where copies of instructions are.
    """

    def __init__(
        self,
        machine: System,
        image: KernelImage,
        arch: ArchKprobes,
        cpus: CpuPaths,
        pages: SlotPages,
        default: HowToArm,
        *,
        jumps: bool,
        preempts: bool,
    ) -> None:
        """Make the ways that there are.

        Args:
            machine: The guest.
            image: Its kernel.
            arch: The architecture's half.
            cpus: What each CPU has for probes.
            pages: The memory that breakpoints need.
            default: How those are armed that nothing is chosen for.
            jumps: Breakpoints may become jumps, where the kernel has that.
            preempts: The guest runs by itself, and its tasks may lose the CPU.
        """
        self.default = default
        self._jumps = jumps
        self._machine = machine
        self._cpus = cpus
        self._paths = paths = cpus.hits
        self.hooks = HookArming(machine, image, arch, cpus.hooked, cpus.listeners, paths)
        self.slots = SlotCache(arch.slot_size, pages.new_slots, pages.free)
        self._breakpoints = BreakpointArming(
            machine,
            arch,
            self.slots,
            cpus.copies,
            # A task that has lost the CPU may stand in a copy, and nobody knows.
            lambda: not preempts and self._nobody_handles_a_probe(),
            lambda slot: any(ctl.uses(slot) for ctl in cpus.ctlblk),
            self.hooks.read if default == "hook" else machine.memory.read,
        )
        self.hooks.read_original = self._breakpoints.read_original
        self._of_kernel: Arming = self._breakpoints
        self.optimizer: KprobeOptimizer | None = None
        self._chosen: dict[int, ProbeArming] = {}
        if default == "breakpoint":
            self._take_breakpoints()

    def _nobody_handles_a_probe(self) -> bool:
        """No CPU does, nor can one of several have lost its turn in a copy."""
        stopped = len(self._cpus.ctlblk) == 1 or not self._machine.depth
        return stopped and all(ctl.current_kprobe is None for ctl in self._cpus.ctlblk)

    def _take_breakpoints(self) -> None:
        """Be asked about the CPUs' breakpoints: there is one of ours, or there will be."""
        for path in self._paths:
            claims, trap = path.steps.vcpu.traps.breakpoint, path.breakpoints.trap
            if trap not in claims:
                claims.append(trap)

    def optimize(
        self, table: KprobeTable, optimizable: Optimizable, pages: ProbePages, *, strict: bool
    ) -> None:
        """Let breakpoints become jumps, as this kernel does."""
        self._of_kernel = self.optimizer = KprobeOptimizer(
            self._machine,
            table,
            self._breakpoints,
            optimizable,
            OptimizedCallback(self._machine, self._paths, table.heads, pages),
            self._cpus.copies,
            self._cpus.ctlblk,
            pages,
            self._paths,
            strict=strict,
        )

    # -- choosing ----------------------------------------------------------------------------------

    def check(self, p: Kprobe, address: int, how: ProbeArming, *, joins: bool) -> None:
        """Whether ``p`` may come to ``address`` in this way; ``joins``: others are there.

        Raises:
            UsageError: There is no such way, for this probe or in this guest, or others are armed
                in another.
        """
        if how not in _ARMINGS:
            raise UsageError(f"arming is {' or '.join(_ARMINGS)}, not {how!r}")
        if joins:
            there = self._chosen.get(address, self.default)
            if how not in ("auto", there):
                raise UsageError(
                    f"the probe that is at {address:#x} already is armed as {there!r}: all at one "
                    "address are armed alike, so leave arming out"
                )
        elif how == "jump":
            self._check_jump(p, address)

    def choose(self, p: Kprobe, address: int, how: ProbeArming) -> None:
        """Arm what comes to ``address`` in this way, which was checked."""
        if how == "auto":
            how = p.own_arming
        if how != "auto":
            self._chosen[address] = how

    def forget(self, address: int) -> None:
        """Nothing is at ``address`` any more."""
        self._chosen.pop(address, None)

    def _check_jump(self, p: Kprobe, address: int) -> None:
        if self.optimizer is None:
            where = "in this kernel" if self._jumps else "where probes are hooks"
            raise UsageError(f"there are no jumps {where}: use another arming")
        if p.post_handler is not None or p.list_type is ListType.JPROBE:
            raise UsageError("a post_handler or a jprobe needs a breakpoint, not a jump")
        if not self.optimizer.can_jump(address):
            raise UsageError(
                f"no jump fits at {address:#x}: k.check(...).optimizable tells where one does"
            )

    def finish(self, head: Kprobe) -> None:
        """A probe has been armed at its address: write the jump, if one was asked for."""
        address = head.addr or 0
        if self._chosen.get(address) == "jump" and self.optimizer is not None:
            self.optimizer.write_now(address)

    @property
    def breakpoints(self) -> list[int]:
        """The addresses of probes that are armed by breakpoints against the default."""
        return [a for a in self._chosen if self.default == "hook" and not self.is_hook(a)]

    def is_hook(self, address: int) -> bool:
        """Whether what is at ``address`` is, or would be, armed by a hook."""
        how = self._chosen.get(address, "auto")
        return how == "hook" or (how == "auto" and self.default == "hook")

    def _of(self, address: int) -> Arming:
        if self.is_hook(address):
            return self.hooks
        if self._chosen.get(address) == "breakpoint":
            return self._breakpoints
        return self._of_kernel

    # -- as any way to arm -------------------------------------------------------------------------

    def prepare(self, p: Kprobe, site: Site) -> ArchInsn:
        """Analyse the instruction at ``site``; raises ``Refused``, and then nothing has changed."""
        return self._of(site.address).prepare(p, site)

    def arm(self, p: Kprobe) -> None:
        """From now on the CPU stops at ``p``, if it did not already."""
        address = p.addr or 0
        if not self.is_hook(address):
            self._take_breakpoints()
        if self.optimizer is not None:
            self.optimizer.make_way(address)
        self._of(address).arm(p)

    def members_changed(self, head: Kprobe) -> None:
        """Another one of the probes behind ``head`` is to be called, or one less."""
        if self.is_hook(head.addr or 0):
            self.hooks.members_changed(head)

    def disarm(self, p: Kprobe) -> None:
        """And now no longer. Nothing happens if it does not."""
        self._of(p.addr or 0).disarm(p)

    def release(self, p: Kprobe) -> None:
        """Give back what :meth:`prepare` took."""
        self._of(p.addr or 0).release(p)

    def release_copy(self, p: Kprobe) -> None:
        """Give back the instruction's copy alone: another one takes its place."""
        (self.hooks if self.is_hook(p.addr or 0) else self._breakpoints).release(p)

    def abandon(self, p: Kprobe) -> None:
        """The code has gone: forget ``p`` and touch nothing there."""
        self._of(p.addr or 0).abandon(p)

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code as it is without probes."""
        return self._breakpoints.read_original(address, size)

    def wrap(self, p: Kprobe) -> Kprobe:
        """The head that the kernel would have put before ``p``, for its optimizer; else ``p``."""
        if self.optimizer is None or self.is_hook(p.addr or 0):
            return p
        return self.optimizer.wrap(p)
