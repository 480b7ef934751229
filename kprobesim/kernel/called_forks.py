"""The states of a called kernel in memory: its RAM, and what the host remembers of it.

Probes are the user's, not the guest's: after going back those of now are planted. Where they are in
the guest's memory (breakpoints, slots, what is mapped for them) that is part of the state from then
on, so going back is fast unless probes have come or gone in between.
"""

from __future__ import annotations

from typing import Any

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.kernel.called_memory import CalledMemory
from kprobesim.kernel.modules import Module, Modules, ModuleState
from kprobesim.kprobes.arming.pages import is_probe_page
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.machine.fork_state import ForkState, state_of
from kprobesim.machine.machine import Machine
from kprobesim.machine.memory import Region
from kprobesim.machine.ram_image import RamImage
from kprobesim.machine.written_pages import PAGE
from kprobesim.unbooted.trap_tables import KernelExceptions

__all__ = ["CalledForks"]

_LONGEST = 16  # bytes that an armed probe may have changed


class CalledForks:
    """Forks and restores the guest on ``machine``."""

    def __init__(
        self,
        machine: Machine,
        kprobes: KprobesManager,
        modules: Modules,
        memory: CalledMemory,
        exceptions: KernelExceptions,
    ) -> None:
        self._machine = machine
        self._kprobes = kprobes
        self._modules = modules
        self._given = memory
        self._exceptions = exceptions
        self._current: ForkState | None = None

    def fork(self, time: float) -> ForkState:
        """The state as it is now; raises :class:`UsageError` while the guest runs."""
        machine = self._machine
        machine.check_idle()
        before = self._current.ram if self._current is not None else None
        context = machine.engine.new_context()
        clock = machine.save_clock()

        def put() -> None:
            context.restore()
            machine.restore_clock(clock)

        state = ForkState(self, RamImage(machine.memory.ram, before), time, put)
        state.kept = self._remember()
        self._current = state
        return state

    def restore(self, state: ForkState | None) -> int:
        """Back to ``state``, by default the last one; how many pages of the host's were reset."""
        machine, memory, current = self._machine, self._machine.memory, self._current
        machine.check_idle()
        for vcpu in machine.vcpus:
            vcpu.in_handler = False
            vcpu.hit_state.abandon()
        state = state_of(self, state, current)
        kept: _Kept = state.kept
        self._go_back_to_modules(kept.modules)
        moved = _places(memory.regions) != _places(kept.memory[0])
        same_probes = kept.pokes == machine.text.pokes and kept.probe_pages == self._probe_pages()
        if same_probes:
            self._reset(state, current)
            memory.restore(kept.memory)
        else:
            self._restore_with_other_probes(state, current)
        if moved:
            machine.engine.flush_tlb()
        machine.vcpu.hit_state.restore(kept.hits)
        self._given.restore(kept.given)
        self._exceptions.restore(kept.exceptions)
        state.put()
        self._current = state
        return state.dirty_pages

    def _restore_with_other_probes(self, state: ForkState, current: ForkState | None) -> None:
        """What probes have put into the guest's memory is that of now, and the state's, too."""
        machine, memory, kprobes = self._machine, self._machine.memory, self._kprobes
        kept: _Kept = state.kept
        optimized = kprobes.optimizer is not None and kprobes.optimizer.has_jumps
        armed = not kprobes.enabled.all_disarmed
        if armed:
            kprobes.disarm_all_kprobes()
        known = {(region.start, region.offset) for region in kept.memory[0]}
        for region in [r for r in memory.regions if r.name == self._given.code_region]:
            if (region.start, region.offset) not in known:
                machine.unmap(region)
        contents = [
            (region.offset, memory.ram[region.offset : region.offset + region.end - region.start])
            for region in memory.regions
            if is_probe_page(region)
        ]
        self._reset(state, current)
        memory.restore_beside(kept.memory, _stays)
        for offset, content in contents:
            memory.ram[offset : offset + len(content)] = content
            memory.wrote(offset, len(content))
        machine.engine.flush_tlb()
        for address, original in kept.originals:
            machine.write(address, original, "kprobe disarm")
        if armed:
            kprobes.arm_all_kprobes()
        if optimized:
            kprobes.wait_for_optimizer()
        state.ram.adopt(state.ram.written())
        self._remember_probes(kept)

    def _reset(self, state: ForkState, current: ForkState | None) -> None:
        """Only the RAM."""
        memory = self._machine.memory
        if state is current or not state.ram.tracks:
            ranges = state.ram.written()
            for start, end in ranges:
                memory.wrote(start, end - start)
            state.ram.reset(ranges)
            state.dirty_pages = sum(end - start for start, end in ranges) // PAGE
        else:
            self._machine.engine.forget_all_code()
            state.ram.put_under()
            state.dirty_pages = memory.size // PAGE

    # -- what the host remembers -------------------------------------------------------------------

    def _remember(self) -> _Kept:
        kept = _Kept()
        kept.modules = [(module, module.state) for module in self._modules]
        kept.hits = self._machine.vcpu.hit_state.save()
        kept.given = self._given.save()
        kept.exceptions = self._exceptions.save()
        self._remember_probes(kept)
        return kept

    def _remember_probes(self, kept: _Kept) -> None:
        machine = self._machine
        kept.memory = machine.memory.save()
        kept.pokes = machine.text.pokes
        kept.probe_pages = self._probe_pages()
        kept.originals = []
        for address in sorted({p.addr for p in self._kprobes if p.addr is not None}):
            try:
                original = machine.read_code(address, _LONGEST)
                if original != machine.memory.read(address, _LONGEST):
                    kept.originals.append((address, original))
            except GuestMemoryError:
                pass  # of a probe whose code is gone

    def _probe_pages(self) -> list[tuple[int, int]]:
        return [(r.start, r.offset) for r in self._machine.memory.regions if _stays(r)]

    def _go_back_to_modules(self, then: list[tuple[Module, ModuleState]]) -> None:
        """Unload what was loaded since; raises :class:`UsageError` if others have changed."""
        now = [(module, module.state) for module in self._modules]
        if now[: len(then)] != then:
            raise UsageError(
                "modules that were loaded when the state was forked have been unloaded, or have "
                "become live, since then: fork after that"
            )
        for module, _ in reversed(now[len(then) :]):
            self._modules.unload(module.name)


class _Kept:
    """What the host remembers of a state beside its RAM."""

    modules: list[tuple[Module, ModuleState]]
    given: Any
    hits: Any
    """Of the probes: the calls that return probes followed."""
    exceptions: Any
    memory: tuple[list[Region], int, dict[int, list[int]]]
    pokes: int
    probe_pages: list[tuple[int, int]]
    originals: list[tuple[int, bytes]]
    """Code under armed probes: where, and what it is without them."""


def _places(regions: list[Region]) -> list[tuple[int, int]]:
    return [(region.start, region.offset) for region in regions]


def _stays(region: Region) -> bool:
    """Whether the region is the host's, not the guest's: for probes, or a stack for calls."""
    return is_probe_page(region) or region.name.startswith("stack ")
