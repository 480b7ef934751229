"""A guest that runs itself: its traps are its own, except those that somebody here claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.machine.cpu import Cpu
from kprobesim.machine.guest import Guest
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.trap import TrapKind
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["BootedMachine"]

_X86_UNDEFINED = 6
_NOT_FAULTS = (TrapKind.SYSCALL, TrapKind.BREAKPOINT, TrapKind.STEP)


class BootedMachine(Guest):
    """``deliver(vector)`` enters the guest's own handler; the board sets it.

    ``breakpoint`` and ``step`` are asked first, as in any guest; then, for a fault,
    ``trap_handlers``. ``emulate(vector)``, the board's too, comes before all of them: it answers
    whether the trap was a device's (a trapped timer register, a call of the firmware).
    """

    def __init__(self, engine: Engine, cpu: Cpu, memory: HostAccess) -> None:
        self.deliver: Callable[[int], None] = lambda vector: None
        self.emulate: Callable[[int], bool] = lambda vector: False
        super().__init__(engine, cpu, memory)
        self.no_hit: Any = self.save_state()
        """The probes' state when no probe is being handled."""

    def abandon_hit(self) -> None:
        """A handler has raised, so its hit is over.

        The probed instruction is still to come: the guest hits it again when it goes on.
        """
        if self.in_handler:
            self.in_handler = False
            self.restore_state(self.no_hit)

    def _on_interrupt(self, vector: int) -> None:
        if self.emulate(vector):
            return
        cpu = self.cpu
        if vector == cpu.breakpoint_vector and self.breakpoint():
            return
        if vector == cpu.step_vector and self.step():
            return
        if self.trap_handlers and self._offer(vector):
            return
        self.deliver(vector)

    def _on_invalid(self) -> bool:
        """x86-64 only: Unicorn has a hook of its own for #UD."""
        self._on_interrupt(_X86_UNDEFINED)
        return True

    def _offer(self, vector: int) -> bool:
        """Whether a handler took the fault; it may also have moved the pc and declined."""
        if vector == self.cpu.breakpoint_vector:
            return False
        trap = self.cpu.trap(vector)
        if trap.kind in _NOT_FAULTS:
            return False
        regs = self.regs
        return any(handler(trap, regs) for handler in self.trap_handlers)
