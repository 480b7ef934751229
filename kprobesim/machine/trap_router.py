"""Who is asked about a trap of one CPU: named places, one behind the other.

``emulate``, then ``breakpoint`` or ``step``, then ``faults``. What nobody takes goes to the guest's
own handlers (``deliver``); where it has none that run, to the die notifiers, or it ends the run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

if TYPE_CHECKING:
    from kprobesim.machine.vcpu import Vcpu

__all__ = ["TrapHandler", "TrapRouter"]

TrapHandler = Callable[[Trap, PtRegs], bool]
"""Gets a trap and the live registers; true if it set the registers so that the guest can go on."""

_NOT_FAULTS = (TrapKind.SYSCALL, TrapKind.BREAKPOINT, TrapKind.STEP)


class TrapRouter:
    """The places of one CPU. In each, clients are asked in order until one takes the trap.

    Attributes:
        emulate: Asked with the vector of every trap: devices and firmware that trap.
        breakpoint: Asked whether the breakpoint that the CPU is at is theirs.
        step: Asked whether the single step is theirs.
        faults: Asked about everything else, and what the former have declined.
        witnesses: Told the vector of each trap before it is delivered.
        deliver: Enters the guest's own handler for a vector; ``None`` for a guest that handles no
            traps itself.
    """

    def __init__(self, vcpu: Vcpu, first: TrapRouter | None = None) -> None:
        """Take all traps of ``vcpu`` from now on.

        Args:
            vcpu: Whose.
            first: That of the CPU whose engine it shares: each is asked while its CPU runs, from
                :meth:`enter` on.
        """
        self.emulate: list[Callable[[int], bool]] = []
        self.breakpoint: list[Callable[[], bool]] = []
        self.step: list[Callable[[], bool]] = []
        self.faults: list[TrapHandler] = []
        self.witnesses: list[Callable[[int], None]] = []
        self.deliver: Callable[[int], None] | None = None
        self._vcpu = vcpu
        self._select: Callable[[TrapRouter], None]
        if first is not None:
            self._select = first._select
            return
        route, self._select = self._make_route()
        vcpu.engine.hooks.on_interrupt(route)
        undefined = vcpu.cpu.undefined_vector
        if undefined is not None:
            vcpu.engine.hooks.on_invalid_instruction(partial(self._on_undefined, undefined))

    def ask_as(self, first: TrapRouter) -> None:
        """Ask whom ``first`` asks, in that order."""
        for mine, others in zip(self._places, first._places, strict=True):
            mine.extend(others)

    def ask_instead(self, new: Callable[..., bool], old: Callable[..., bool]) -> None:
        """Ask ``new`` wherever ``old`` is asked: a client that each CPU has one of its own of."""
        for place in self._places:
            place[:] = [new if client == old else client for client in place]

    @property
    def _places(self) -> tuple[list[Any], ...]:
        return self.emulate, self.breakpoint, self.step, self.faults

    def enter(self) -> None:
        """The CPU runs from now on, in the engine that it shares."""
        self._select(self)

    def _make_route(self) -> tuple[Callable[[object, int], None], Callable[[TrapRouter], None]]:
        cpu, keep = self._vcpu.cpu, self._vcpu.engine.hooks.keep
        breakpoint_vector, step_vector = cpu.breakpoint_vector, cpu.step_vector
        emulate, breakpoint, step = self.emulate, self.breakpoint, self.step
        pass_on = self._pass_on

        def route(_uc: object, vector: int) -> None:
            try:  # the way of every hit: one frame
                if emulate:
                    for takes in emulate:
                        if takes(vector):
                            return
                if vector == breakpoint_vector:
                    for claims in breakpoint:
                        if claims():
                            return
                elif vector == step_vector:
                    for claims in step:
                        if claims():
                            return
                pass_on(vector)
            except BaseException as error:
                keep(error)

        def select(router: TrapRouter) -> None:
            nonlocal emulate, breakpoint, step, pass_on
            emulate, breakpoint, step = router.emulate, router.breakpoint, router.step
            pass_on = router._pass_on

        return route, select

    def take_breakpoint(self) -> None:
        """The trap of a breakpoint that the CPU came to earlier is taken now."""
        if not any(claims() for claims in self.breakpoint):
            self._pass_on(self._vcpu.cpu.breakpoint_vector)

    def stepped(self) -> None:
        """A client of a code hook has done an instruction that is single-stepped: trap behind it.

        The program counter is there, and may be elsewhere afterwards.
        """
        if not any(claims() for claims in self.step):
            self._pass_on(self._vcpu.cpu.step_vector)

    def _on_undefined(self, vector: int) -> bool:
        """Take what Unicorn has a hook of its own for."""
        router = self._vcpu.system.vcpu.traps
        if not any(takes(vector) for takes in router.emulate):
            router._pass_on(vector)
        return True

    def _pass_on(self, vector: int) -> None:
        cpu = self._vcpu.cpu
        if self.deliver is None:
            trap = cpu.trap(vector)
            if vector == cpu.breakpoint_vector:
                cpu.undo_breakpoint()
            self.dispatch(trap)
            return
        if self.faults and vector != cpu.breakpoint_vector:
            trap = cpu.trap(vector)
            # A handler may also have moved the pc and declined.
            if trap.kind not in _NOT_FAULTS and self._offer(trap):
                return
        for witness in self.witnesses:
            witness(vector)
        self.deliver(vector)

    def _offer(self, trap: Trap) -> bool:
        regs = self._vcpu.regs
        return any(handler(trap, regs) for handler in self.faults)

    def dispatch(self, trap: Trap) -> None:
        """Offer ``trap`` to ``faults`` and to the die notifiers; else it ends the run.

        Raises:
            GuestFault: Nobody has taken it.
        """
        if self._offer(trap):
            return
        system, regs = self._vcpu.system, self._vcpu.regs
        if not system.notify_die(trap, regs):
            raise system.fault_of(trap, regs.copy())
