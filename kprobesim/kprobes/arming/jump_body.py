"""What the detour of a jump calls: the kernel's optimized_callback(), or another body."""

from __future__ import annotations

from typing import Protocol

from kprobesim.arch.x86_64.constants import INT3_SIZE
from kprobesim.arch.x86_64.detour import CALLBACK, Detour
from kprobesim.kprobes.arming.pages import ProbePages
from kprobesim.kprobes.arming.slots import SlotCache
from kprobesim.kprobes.hit.jump import make_jump_trap
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.percpu import PerCpu
from kprobesim.machine.system import System

__all__ = ["JumpBody", "OptimizedCallback"]


class JumpBody(Protocol):
    """Gives each detour its own code to call.

    It is called with the probe's address in RDI, and with the ``struct pt_regs`` that is on the
    stack in RSI.
    """

    def make(self, address: int, *, collect: bool) -> int:
        """The address of the code for the probe at ``address``; ``collect``: nobody runs any."""

    def attach(self, made: Detour) -> None:
        """The detour that calls it is in memory now."""

    def free(self, address: int) -> None:
        """Give the code back; the CPU may still be in it."""


class OptimizedCallback:
    """``optimized_callback()``: puts the registers back and traps, for handlers are in Python.

    Each probe has one of its own, so that the trap's address says whose it is.
    """

    def __init__(
        self, machine: System, paths: PerCpu[HitPath], table: dict[int, Kprobe], pages: ProbePages
    ) -> None:
        self._machine = machine
        self._paths = paths
        self._table = table
        self.stubs = SlotCache(len(CALLBACK), pages.new_callbacks, pages.free)
        self._stub_of: dict[int, int] = {}
        self._made: dict[int, Detour] = {}
        paths.on_new(self._take_traps)

    def make(self, address: int, *, collect: bool) -> int:
        """Write the code for the probe at ``address``."""
        stub = self._stub_of[address] = self.stubs.get(collect=collect)
        self._machine.text.poke(stub, CALLBACK, "kprobe optimized_callback")
        return stub

    def attach(self, made: Detour) -> None:
        """Take its trap, on each CPU."""
        self._made[made.address] = made
        for path in self._paths:
            self._take_trap(path, made)

    def _take_traps(self, path: HitPath) -> None:
        for made in self._made.values():
            self._take_trap(path, made)

    def _take_trap(self, path: HitPath, made: Detour) -> None:
        trap = make_jump_trap(path.steps, self._table, made.address, made.resume)
        path.breakpoints.places[self._trap_at(made.address)] = trap

    def free(self, address: int) -> None:
        """Who is still in it has nobody to call, and goes on without."""
        made = self._made.pop(address, None)
        if made is not None:
            for path in self._paths:
                trap = make_jump_trap(path.steps, {}, address, made.resume)
                path.breakpoints.places[self._trap_at(address)] = trap
        self.stubs.free(self._stub_of.pop(address), dirty=True)

    def _trap_at(self, address: int) -> int:
        return self._stub_of[address] + len(CALLBACK) - INT3_SIZE
