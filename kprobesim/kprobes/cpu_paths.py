"""``CpuPaths``: what each CPU has for probes, made once for all of them."""

from __future__ import annotations

from kprobesim.kprobes.arch_kprobes import ArchKprobes, Stepping
from kprobesim.kprobes.copies import OutOfLineCopies
from kprobesim.kprobes.ctlblk import KprobeCtlblk
from kprobesim.kprobes.events import HitListeners
from kprobesim.kprobes.fault import FaultPath
from kprobesim.kprobes.hit.nested import NestedHits
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.hooked import HookedPlaces
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.percpu import PerCpu
from kprobesim.kprobes.rethook import Returns
from kprobesim.kprobes.table import KprobeTable
from kprobesim.machine.system import System

__all__ = ["CpuPaths"]


class CpuPaths:
    """The CPUs' control blocks and paths, over one table of probes.

    Attributes:
        ctlblk: What each CPU knows of the probe that it handles.
        hits: Its path of a hit.
        faults: Its path of a fault.
        copies: Copies that run by themselves, which all CPUs share.
        hooked: Where probes are hooks, which they share, too.
        listeners: Who hears of hits.
    """

    def __init__(
        self,
        machine: System,
        arch: ArchKprobes,
        table: KprobeTable,
        model: Model,
        *,
        stepping: Stepping,
        strict: bool,
        guest_has_traps: bool,
    ) -> None:
        """Make them; nothing comes their way yet.

        Args:
            machine: The guest.
            arch: The architecture's half.
            table: The probes by address.
            model: The kernel whose kprobes these are.
            stepping: How copies are stepped.
            strict: The kernel is imitated where it is wrong, too.
            guest_has_traps: The guest takes traps itself.
        """
        self.copies = copies = OutOfLineCopies()
        self.hooked = hooked = HookedPlaces()
        self.listeners = listeners = HitListeners()
        saves = arch.nesting_saves_flags
        self.ctlblk = ctlblk = PerCpu(machine, lambda vcpu: KprobeCtlblk(nesting_saves_flags=saves))
        self.hits = hits = PerCpu(
            machine,
            lambda vcpu: HitPath(
                vcpu,
                arch,
                table.heads,
                copies,
                hooked,
                ctlblk[vcpu.number],
                listeners,
                stepping=stepping,
                strict=strict,
                guest_has_traps=guest_has_traps,
            ),
        )
        self.faults = PerCpu(
            machine,
            lambda vcpu: FaultPath(
                hits[vcpu.number], table.heads, copies, model.fault_handlers, strict=strict
            ),
        )
        self._machine = machine

    def take_traps(self, returns: Returns) -> None:
        """From now on the CPUs' steps and faults come here; ``returns`` are aborted with hits."""
        for path, faults in zip(self.hits, self.faults, strict=True):
            traps = path.steps.vcpu.traps
            traps.step.append(path.step)
            traps.faults.insert(0, faults.fault)
            self._keep_hits(path, returns)
        self.faults.on_new(lambda faults: self._take_traps_as_first(faults, returns))
        self._hear_of_coming_again()

    def _take_traps_as_first(self, faults: FaultPath, returns: Returns) -> None:
        """A CPU has been added whose traps go where the first one's do: let them come here."""
        first, path = self.hits[0], self.hits[-1]
        traps = path.steps.vcpu.traps
        traps.ask_instead(path.step, first.step)
        traps.ask_instead(path.breakpoints.trap, first.breakpoints.trap)
        traps.ask_instead(faults.fault, self.faults[0].fault)
        self._keep_hits(path, returns)
        self._hear_of_coming_again()

    def _keep_hits(self, path: HitPath, returns: Returns) -> None:
        path.steps.vcpu.hit_state = NestedHits(path.steps.ctlblk, returns, path.hooks)

    def _hear_of_coming_again(self) -> None:
        comes_again = self.hits.call(lambda path: path.hooks.in_place.comes_again)
        self._machine.code_watch.comes_again = comes_again
