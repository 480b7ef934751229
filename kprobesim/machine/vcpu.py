"""One CPU of a system: its registers, its traps, and what is going on on it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from kprobesim.machine.cpu import Cpu
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap_router import TrapRouter
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.struct_layout import Words
from kprobesim.sizes import MASK64

if TYPE_CHECKING:
    from kprobesim.machine.system import System

__all__ = ["HitState", "Vcpu"]


class HitState(Protocol):
    """What one CPU knows of the probe that it is handling, for whoever aborts what it does."""

    @property
    def is_stepping(self) -> bool:
        """Whether a probed instruction is on its way, and its hit not over."""

    def save(self) -> Any:
        """Everything, for :meth:`restore`."""

    def restore(self, state: Any) -> None:
        """Be as it was at :meth:`save`: what has begun since never ends."""

    def abandon(self) -> None:
        """No probe is being handled any more; calls are followed as before."""


class _NoHits:
    """Where there are no probes."""

    is_stepping = False

    def save(self) -> None:
        """There is nothing."""

    def restore(self, state: None) -> None:
        """There is nothing."""

    def abandon(self) -> None:
        """There is nothing."""


class Vcpu:
    """A CPU: its engine, and how the host sees its registers.

    Attributes:
        system: What it shares with other CPUs.
        number: As the kernel counts CPUs.
        words: Its registers, live, as 64-bit words; ``engine.layout`` says which is which.
        regs: The registers as the handlers of the current nesting level see them.
        in_handler: Whether a handler of a probe runs.
        busy: One word: not 0 while guest code runs for a probe that is being handled, in a call
            that its handler makes. Compiled functions look at it, and miss their hit.
        depth: How many calls of guest functions, one inside the other, are being executed.
        traps: Who is asked about its traps.
        context: Its registers while another CPU runs in the engine that it shares.
        put_in: Puts it into that engine.
        has_breakpoints: Whether it had debug registers in use when it ran last.
        hit_state: The probe that it is handling.
        arriving: Whether it takes a breakpoint that it came to earlier: it was ours then.
    """

    def __init__(
        self, system: System, number: int, engine: Engine, cpu: Cpu, first: Vcpu | None = None
    ) -> None:
        """Make CPU ``number`` of ``system`` out of an ``engine`` and its architecture's half.

        Args:
            system: What it is a CPU of.
            number: As the kernel counts CPUs.
            engine: What executes its code.
            cpu: The architecture's half.
            first: The CPU whose engine it shares: :meth:`System.switch_to` tells which of them
                runs.
        """
        self.system = system
        self.number = number
        self.arch = engine.arch
        self.engine = engine
        self.cpu = cpu
        self.words = engine.words
        self.regs = self.new_regs()
        self.in_handler = False
        self.busy: Words = (ctypes.c_uint64 * 1)() if first is None else first.busy
        self.depth = 0
        self.traps: TrapRouter = TrapRouter(self, None if first is None else first.traps)
        self.context = engine.new_context()
        self.has_breakpoints = False
        self.put_in: Callable[[], object]
        self.hit_state: HitState = _NoHits()
        self.arriving = False

    def __repr__(self) -> str:
        return f"<Vcpu {self.number} {self.arch} at {self.words[self.engine.layout.pc]:#x}>"

    def new_regs(self) -> PtRegs:
        """A live window on the registers."""
        return self.cpu.regs_class(self.words, self.cpu)

    def saved_regs(self) -> PtRegs:
        """A copy of its registers, whether it runs or another CPU does."""
        system = self.system
        running = system.vcpu
        if running is self:
            return self.regs.copy()
        running.context.save()
        self.context.restore()
        try:
            return self.regs.copy()
        finally:
            running.context.restore()

    def replace_regs(self, regs: PtRegs) -> None:
        """A handler kept ``regs``: freeze them as they are now, and take new ones."""
        regs.freeze()
        self.regs = self.new_regs()

    def abandon_hit(self) -> None:
        """A handler has raised, so its hit is over.

        The probed instruction is still to come: the guest hits it again when it goes on.
        """
        if self.in_handler:
            self.in_handler = False
            self.hit_state.abandon()

    def return_to_caller(self, value: int | None = None) -> None:
        """At a function's first instruction: go on where it would return to.

        Args:
            value: Its 64-bit result, if it has one.
        """
        if value is not None:
            self.words[self.cpu.regs_class.RETURN] = value & MASK64
        self.cpu.return_to_caller(self.system.memory)
