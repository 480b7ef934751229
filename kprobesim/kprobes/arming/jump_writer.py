"""``JumpWriter``: jumps that are written step by step, beside what other CPUs do.

text_poke_bp() of arch/x86/kernel/alternative.c (6.1): first there is a breakpoint, then the tail of
the new instruction behind it, then its head; after each step all CPUs take an interrupt. Who comes
to the breakpoint meanwhile goes where the jump will lead (poke_int3_handler()).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kprobesim.arch.x86_64.constants import INT3_SIZE
from kprobesim.arch.x86_64.detour import Detour
from kprobesim.kprobes.arming.breakpoint import BreakpointArming
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.percpu import PerCpu
from kprobesim.machine.system import System

__all__ = ["JumpWriter"]


class JumpWriter:
    """Writes jumps over breakpoints of ``arming``, a step at each turn of a CPU."""

    def __init__(
        self,
        machine: System,
        arming: BreakpointArming,
        paths: PerCpu[HitPath],
        written: Callable[[int], object],
    ) -> None:
        """Nothing is being written.

        Args:
            machine: The guest.
            arming: What has written the breakpoints.
            paths: The CPUs' ways to a probe.
            written: Is told the address of each jump that is there.
        """
        self._machine, self._arming, self._paths = machine, arming, paths
        self._written = written
        self._work: list[Detour] = []
        self._steps: Iterator[None] | None = None
        self._claims: list[tuple[list[Callable[[], bool]], Callable[[], bool]]] = []

    def begin(self, made: list[Detour]) -> None:
        """Let the jumps to these detours be written, one behind the other."""
        self._work += made
        if self.step not in self._machine.background:
            self._machine.background.append(self.step)

    def step(self) -> bool:
        """Do one step; whether all is done."""
        if self._steps is None and self._work:
            self._steps = self._write(self._work.pop(0))
        if self._steps is not None and next(self._steps, self) is self:
            self._steps = None
        return self._steps is None and not self._work

    def finish(self) -> None:
        """Somebody else is to change code, and has waited for this (``text_mutex``)."""
        while self._steps is not None:
            self.step()

    def forget(self, address: int) -> None:
        """No jump is wanted at ``address``, where none has been begun."""
        self._work = [made for made in self._work if made.address != address]

    def _write(self, made: Detour) -> Iterator[None]:
        machine, address = self._machine, made.address
        self._take_traps(made)
        machine.sync_cpus()
        machine.leave_code(address + INT3_SIZE, address + made.size)  # synchronize_rcu_tasks()
        yield
        self._arming.jump_tail(address, made.jump)
        machine.sync_cpus()
        yield
        self._arming.jump_head(address, made.jump)
        machine.sync_cpus()
        for places, claim in self._claims:
            places.remove(claim)
        self._claims.clear()
        self._written(address)

    def _take_traps(self, made: Detour) -> None:
        for path in self._paths:
            places = path.steps.vcpu.traps.breakpoint
            claim = self._make_claim(path, made)
            places.insert(places.index(path.breakpoints.trap), claim)
            self._claims.append((places, claim))

    def _make_claim(self, path: HitPath, made: Detour) -> Callable[[], bool]:
        vcpu = path.steps.vcpu
        words, pc = vcpu.words, vcpu.engine.layout.pc

        def claim() -> bool:
            """``poke_int3_handler()``: whether the CPU has come to what is being written."""
            if words[pc] != made.address + INT3_SIZE:
                return False
            words[pc] = made.buffer
            return True

        return claim
