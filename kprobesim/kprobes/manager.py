"""The probes' manager: registration, arming, and the table that the hit path looks into."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import cast

from kprobesim.errors import KprobeError, Reason, UsageError
from kprobesim.image import KernelImage
from kprobesim.kprobes.aggregate import AggrKprobe
from kprobesim.kprobes.arch_kprobes import ArchInsn, Stepping, arch_kprobes
from kprobesim.kprobes.arming.armings import Armings, ProbeArming
from kprobesim.kprobes.arming.pages import ProbePages, SlotPages
from kprobesim.kprobes.arming.protocol import HowToArm
from kprobesim.kprobes.batch import register_all
from kprobesim.kprobes.cpu_paths import CpuPaths
from kprobesim.kprobes.debugfs import list_kprobes, probes_as_html
from kprobesim.kprobes.enable import EnabledProbes
from kprobesim.kprobes.fail_function import FaultInjection
from kprobesim.kprobes.fault import FaultPath
from kprobesim.kprobes.hook_returns import HookReturns
from kprobesim.kprobes.init_memory import InitMemory
from kprobesim.kprobes.jprobe import Jprobe, call_with_arguments, no_jprobes
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag, ListType, registered_flags
from kprobesim.kprobes.kretprobes import ReturnProbes
from kprobesim.kprobes.model import DEFAULT_MODEL, Model
from kprobesim.kprobes.module_notifier import ModuleNotifier
from kprobesim.kprobes.rethook import Returns, TrampolineReturns
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.kprobes.rules.site import Site
from kprobesim.kprobes.table import KprobeTable, has_jprobe, members
from kprobesim.kprobes.task_functions import task_functions
from kprobesim.machine.system import System

__all__ = ["KprobesManager"]

_SHOWN = 4  # probes in a repr


class KprobesManager:
    """The kprobes subsystem of one guest.

    ``stepping`` is "breakpoint" (a breakpoint behind the copy, as current kernels) or "trap" (the
    CPU's single step, as x86 before 5.13 and ARM64 before 5.11). ``arming`` is "breakpoint" (the
    kernel's way) or "hook" (no byte of the guest changes; what has to be stepped is, by the CPU).
    ``pages`` maps the memory that breakpoints need; hooks need none. ``model`` is the kernel whose
    kprobes these are; ``strict`` imitates it where it is wrong, too, and refuses what it lacks.
    ``jumps``: breakpoints become jumps, where the kernel has that. ``guest_has_traps``: the guest
    runs by itself, and takes traps.
    """

    def __init__(
        self,
        machine: System,
        image: KernelImage,
        stepping: Stepping,
        arming: HowToArm,
        pages: SlotPages,
        *,
        model: Model = DEFAULT_MODEL,
        strict: bool = False,
        jumps: bool = True,
        guest_has_traps: bool = False,
    ) -> None:
        self._machine = machine
        self._image = image
        self.model = model
        self.strict = strict
        self._arch = arch_kprobes(image, stepping, model, strict=strict)
        self.rules = Rules(image, self.read_original, model, strict=strict, arch=self._arch)
        """Whether and how this kernel takes a probe."""
        self._table = KprobeTable()
        self._cpus = cpus = CpuPaths(
            machine,
            self._arch,
            self._table,
            model,
            stepping=stepping,
            strict=strict,
            guest_has_traps=guest_has_traps,
        )
        self.ctlblk = cpus.ctlblk
        """What each CPU knows of the probe that it handles."""
        self.listeners = cpus.listeners
        """Who hears of hits."""
        self._arming = Armings(
            machine, image, self._arch, cpus, pages, arming, jumps=jumps, preempts=guest_has_traps
        )
        self.hooks = self._arming.hooks
        """How probes are armed by hooks."""
        self.slots = self._arming.slots
        """Where the copies of instructions are."""
        if jumps and self.rules.optimizable.available:
            optimizable, more_pages = self.rules.optimizable, cast(ProbePages, pages)
            self._arming.optimize(self._table, optimizable, more_pages, strict=strict)
        self.optimizer = self._arming.optimizer
        """What makes jumps of breakpoints, where the kernel has that."""
        self.returns = returns = self._make_returns(pages)
        """The calls that return probes follow."""
        self.return_probes = ReturnProbes(
            self.rules, self._table, returns, self.register_kprobe, self.unregister_kprobes
        )
        self.fault_injection = FaultInjection(
            machine, self.rules, self._table, self.register_kprobe, self.unregister_kprobe
        )
        self.has_jprobes = model.jprobes
        """Whether the kernel has jprobes; if not, ``strict`` refuses them."""
        self.enabled = EnabledProbes(self._table, self._arming, strict=strict)
        """Which probes are enabled, and so armed."""
        self.module_notifier = ModuleNotifier(self.rules.blacklist, self.enabled)
        self.init_memory = InitMemory(image, self.enabled, self._prepare_again)
        """That of ``__init`` functions, and whether it was given back."""
        machine.originals = self
        cpus.take_traps(returns)

    def _make_returns(self, pages: SlotPages) -> Returns:
        machine, hits, image = self._machine, self._cpus.hits, self._image
        if self.arming == "hook":
            return HookReturns(machine, hits, lambda: task_functions(image))
        return TrampolineReturns(machine, hits, cast(ProbePages, pages).trampoline)

    @property
    def faults(self) -> FaultPath:
        """The path of faults of the CPU that runs."""
        return self._cpus.faults.this()

    def find_ret_addr(self, address: int, frame: int) -> int:
        """``kretprobe_find_ret_addr()``: the real return address behind one of a return probe's."""
        return self.returns.find_ret_addr(address, frame)

    # -- looking up ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        places = [p.place for p in islice(self, _SHOWN)]
        more = f" and {len(self) - _SHOWN} more" if len(self) > _SHOWN else ""
        return f"<kprobes of model {self.model.name}: {', '.join(places) or 'none'}{more}>"

    def __str__(self) -> str:
        return self.list()

    def _repr_html_(self) -> str:
        """For a notebook: places, flags and misses."""
        return probes_as_html(self._table, repr(self)[1:].partition(":")[0])

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, p: object) -> bool:
        """Whether this very probe is registered."""
        return p in self._table

    def __iter__(self) -> Iterator[Kprobe]:
        """All registered probes, in order of registration."""
        return iter(self._table)

    def get_kprobe(self, address: int) -> Kprobe | None:
        """The probe at ``address``, or the head of several."""
        return self._table.heads.get(address)

    def read_original(self, address: int, size: int) -> bytes:
        """Guest code as it was before any probe was armed."""
        return self._arming.read_original(address, size)

    def list(self) -> str:
        """The text of debugfs' ``kprobes/list``."""
        return list_kprobes(self._table, self._image)

    def blacklist(self) -> str:
        """The text of debugfs' ``kprobes/blacklist``."""
        return self.rules.blacklist.text()

    # -- registering -----------------------------------------------------------------------------

    @property
    def arming(self) -> HowToArm:
        """How probes are armed that do not ask for another way."""
        return self._arming.default

    @property
    def breakpoints(self) -> Sequence[int]:
        """The addresses of probes with breakpoints, in a guest whose probes are hooks."""
        return self._arming.breakpoints

    def register_kprobe(self, p: Kprobe, arming: ProbeArming = "auto") -> None:
        """Plant ``p`` and arm it, unless its flags say DISABLED.

        Args:
            p: The probe.
            arming: How the CPU is to be stopped; see :data:`ProbeArming`.

        Raises:
            KprobeError: It is refused; nothing has changed but ``p.addr``, as in the kernel.
            UsageError: It cannot be armed so; nothing has changed.
        """
        if p in self._table:
            raise KprobeError(
                errno.EINVAL,
                Reason.ALREADY_REGISTERED,
                "this probe is registered already; unregister it first or make another Kprobe",
                symbol=p.symbol_name,
                address=p.addr,
            )
        is_return = p.list_type is ListType.KRETPROBE
        site = self.rules.site(p, "kretprobe" if is_return else "kprobe")
        head = self._table.heads.get(site.address)
        self._arming.check(p, site.address, arming, joins=head is not None)
        p.addr = site.address
        p.flags = registered_flags(p.flags, at_entry=site.on_func_entry, ftrace=site.ftrace)
        p.nmissed = 0
        self.rules.check_safe(site, init_freed=self.init_memory.freed)
        if head is not None:
            self._join(head, p, site)
            return
        self._arming.choose(p, site.address, arming)
        try:
            self._prepare_probe(p, p, site)
        except BaseException:
            self._arming.forget(site.address)
            raise
        self._table.add(p, p)
        if not p.disabled:
            self.enabled.arm(p)
            self._arming.finish(p)

    def register_jprobe(self, jp: Jprobe, arming: ProbeArming = "auto") -> None:
        """Call ``jp.entry`` at the function's entry; raises :class:`KprobeError`."""
        if self.strict and not self.has_jprobes:
            raise no_jprobes(jp)
        jp.kp.pre_handler = call_with_arguments(self._machine, jp)
        self.register_kprobe(jp.kp, arming)

    def _join(self, head: Kprobe, p: Kprobe, site: Site) -> None:
        """Register ``p`` where others are already (``register_aggr_kprobe()``)."""
        if p.list_type is ListType.JPROBE and has_jprobe(head):
            raise KprobeError(
                errno.EEXIST,
                Reason.ANOTHER_JPROBE,
                f"{site} has a jprobe already, and there can be one only",
                symbol=str(site),
                address=site.address,
            )
        aggr = self._aggregate(head)
        if aggr.flags & KprobeFlag.GONE:
            self._prepare_probe(aggr, p, site)  # other code may be there now
            aggr.flags = aggr.flags & ~KprobeFlag.GONE | KprobeFlag.DISABLED
        aggr.add(p)
        boosts_on = self.model.x86.boost == "when prepared"
        if p.post_handler is not None and aggr.ainsn.boostable and boosts_on and not self.strict:
            # The kernel would go on boosting, and never call this handler.
            self._arming.release_copy(aggr)
            aggr.share(self._prepare(p, site))
        self._table.add(p, aggr)
        if aggr.disabled and not p.disabled:
            self.enabled.arm(aggr)
        elif p.post_handler is not None or p.list_type is ListType.JPROBE:
            self.enabled.arm_again(aggr)  # it needs a breakpoint where there may be a jump
        else:
            self._arming.members_changed(aggr)

    def _aggregate(self, head: Kprobe) -> AggrKprobe:
        """``head``, or one that stands before it (``alloc_aggr_kprobe()``)."""
        if isinstance(head, AggrKprobe):
            return head
        return AggrKprobe(head, self.ctlblk, strict=self.strict)

    def adopt(self, p: Kprobe, ainsn: ArchInsn | None) -> None:
        """Register ``p`` as it is, flags and all: it was accepted in another process.

        ``ainsn`` is how its instruction is executed; ``None`` if others are there or it is GONE.
        """
        head = self.get_kprobe(p.addr or 0)
        if head is None:
            p.ainsn = ainsn
            self._table.add(p, p)
            if not p.disabled:
                self.enabled.arm(p)
            return
        aggr = self._aggregate(head)
        aggr.add(p)
        self._table.add(p, aggr)
        if aggr.disabled and not p.disabled:
            self.enabled.arm(aggr)
        else:
            self._arming.members_changed(aggr)

    def unregister_kprobe(self, p: Kprobe) -> None:
        """Take ``p`` out; behind the last probe the instruction is what it was.

        ``p.addr`` stays, and ``p.flags`` say DISABLED, as in the kernel. Raises
        :class:`KprobeError` if ``p`` is not registered; ``p.addr`` is ``None`` then. (The kernel
        says nothing, and neither does ``strict``.)
        """
        self.unregister_kprobes([p])

    def register_kprobes(self, probes: Sequence[Kprobe], arming: ProbeArming = "auto") -> None:
        """Register all or none: the first refusal unregisters the earlier ones and is raised."""
        register_all(probes, lambda p: self.register_kprobe(p, arming), self.unregister_kprobes)

    def unregister_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Unregister each of ``probes``; what is not registered is told after the others."""
        unknown = []
        for p in probes:
            if p in self._table:
                self._unregister(p)
            else:
                unknown.append(p)
        self._machine.sync_cpus()  # synchronize_rcu(): no hit of theirs is on its way any more
        addresses = [p.addr for p in unknown]
        for p in unknown:
            p.addr = None
        if unknown and not self.strict:
            raise KprobeError(
                errno.EINVAL,
                Reason.NOT_REGISTERED,
                "this probe is not registered",
                symbol=unknown[0].symbol_name,
                address=addresses[0],
            )

    def _unregister(self, p: Kprobe) -> None:
        head = self._table.head(p)
        assert head is not None
        self.enabled.disable_kprobe(p)
        self._table.remove(p)
        if (p.addr or 0) in self._table.heads:
            self.enabled.arm_again(head)
            return
        if not head.flags & KprobeFlag.GONE:
            self._arming.release(head)
        self._arming.forget(p.addr or 0)

    def _prepare_probe(self, head: Kprobe, p: Kprobe, site: Site) -> None:
        """Let ``head`` know the instruction that ``p`` is on (``prepare_kprobe()``)."""
        head.ainsn = self._prepare(p, site)
        width, prepared = len(self._arch.isa.breakpoint), self.hooks.prepared(site.address)
        code = prepared[1] if prepared else self.read_original(site.address, width)
        head.opcode = int.from_bytes(code[:width], "little")

    def _prepare_again(self, head: Kprobe) -> None:
        """Let ``head`` know the instruction that is at its address now."""
        self._prepare_probe(head, head, self.rules.site(Kprobe(addr=head.addr)))

    def _prepare(self, p: Kprobe, site: Site) -> ArchInsn:
        """Copy and analyse the instruction (``arch_prepare_kprobe()``)."""
        return self.rules.prepare(site, lambda site: self._arming.prepare(p, site))

    # -- enabling --------------------------------------------------------------------------------

    def disable_kprobe(self, p: Kprobe) -> None:
        """No handler of ``p`` is called until it is enabled. Raises :class:`KprobeError`."""
        self.enabled.disable_kprobe(p)

    def enable_kprobe(self, p: Kprobe) -> None:
        """Undo :meth:`disable_kprobe`. Raises :class:`KprobeError`."""
        self.enabled.enable_kprobe(p)

    def listeners_changed(self) -> None:
        """Somebody hears of hits now, or nobody any more: compiled functions tell nobody."""
        for head in self._table.heads.values():
            if any(p.native is not None for p in members(head)):
                self._arming.members_changed(head)

    def disarm_all_kprobes(self) -> None:
        """Take all breakpoints out, as writing 0 to debugfs' ``kprobes/enabled`` does."""
        self.enabled.disarm_all_kprobes()

    def arm_all_kprobes(self) -> None:
        """Put them back, as writing 1 does."""
        self.enabled.arm_all_kprobes()

    @property
    def optimization(self) -> bool:
        """Whether breakpoints may become jumps: ``/proc/sys/debug/kprobes-optimization``.

        A change takes effect at once for the probes that there are. Raises :class:`UsageError`
        when set to true for a kernel that has no such jumps: ARM64, or where probes are hooks.
        """
        return self.optimizer is not None and self.optimizer.allowed

    @optimization.setter
    def optimization(self, allowed: bool) -> None:
        if self.optimizer is None:
            if allowed:
                raise UsageError("this kernel has no optimised probes")
            return
        if self.optimizer.allowed != bool(allowed):
            self.optimizer.allowed = bool(allowed)
            self.enabled.all_again()

    def wait_for_optimizer(self) -> None:
        """Let the jumps be written that have been asked for (``wait_for_kprobe_optimizer()``).

        A kernel does it some jiffies after a probe has been armed. Time stands still in a guest
        whose functions are called, and so until this is called each OPTIMIZED probe is hit by its
        breakpoint. Raises :class:`UsageError` in a handler.
        """
        if self.optimizer is not None:
            self.optimizer.wait()
