"""What every guest has, called or booted: a CPU, memory, and somebody who takes its traps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.machine.code_watch import CodeWatch
from kprobesim.machine.cpu import Cpu
from kprobesim.machine.die_notifiers import DieEvent, DieNotifiers, event_of
from kprobesim.machine.faults import GuestFault
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.text import KernelText
from kprobesim.machine.trap import Trap, TrapKind
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["Guest", "TrapHandler"]

TrapHandler = Callable[[Trap, PtRegs], bool]
"""Gets a trap and the live registers; true if it set the registers so that the guest can go on."""


_MASK = (1 << 64) - 1


class Guest:
    """One guest: its engine, memory and code.

    ``breakpoint`` and ``step`` are called for the breakpoint instruction and for the CPU's single
    step; they answer whether the trap was theirs. Everything else, and what they decline, goes
    through ``trap_handlers`` in order; what nobody handles goes to :meth:`fault`. ``symbolize`` and
    ``unwind`` are set by whoever knows the guest's symbols.
    """

    def __init__(self, engine: Engine, cpu: Cpu, memory: HostAccess) -> None:
        self.arch = engine.arch
        self.engine = engine
        self.cpu = cpu
        self.memory = memory
        memory.watch_code(engine.code_pages)
        self.text = KernelText(memory)
        self.code_watch = CodeWatch(engine, self.text)
        self.words = engine.words
        cpu.read_u64 = memory.read_u64

        self.breakpoint: Callable[[], bool] = lambda: False
        self.step: Callable[[], bool] = lambda: False
        self.trap_handlers: list[TrapHandler] = []
        self.die_notifiers = DieNotifiers()
        self.symbolize: Callable[[int], str] = lambda address: f"{address:#x}"
        self.unwind: Callable[[PtRegs], list[str]] = lambda regs: []
        self.explainers: list[Callable[[Trap, PtRegs], str]] = []
        """Who may know why the run ends with a trap: a sentence, or ""."""
        self.read_code: Callable[[int, int], bytes] = memory.read
        """Guest code as it is without probes."""
        self.recover_return: Callable[[int, int], int] = lambda address, frame: address
        """The real return address behind the one that was found at, or beside, ``frame``."""
        self.save_state: Callable[[], Any] = lambda: None
        self.restore_state: Callable[[Any], None] = lambda state: None

        self.regs = self.new_regs()
        """The registers as the handlers of the current nesting level see them."""
        self.in_handler = False
        self.depth = 0
        """How many calls of guest functions, one inside the other, are being executed."""
        engine.hooks.on_interrupt(self._on_interrupt)
        if self.arch == "x86_64":
            engine.hooks.on_invalid_instruction(self._on_invalid)

    def __repr__(self) -> str:
        running = f", {self.depth} calls deep" if self.depth else ""
        return f"<{type(self).__name__} {self.arch} at {self.regs.ip:#x}{running}>"

    def new_regs(self) -> PtRegs:
        """A live window on the registers."""
        return self.cpu.regs_class(self.words, self.cpu)

    def replace_regs(self, regs: PtRegs) -> None:
        """A handler kept ``regs``: freeze them as they are now, and take new ones."""
        regs.freeze()
        self.regs = self.new_regs()

    def write(self, address: int, data: bytes, who: str = "host") -> None:
        """Write guest memory; code goes through :class:`KernelText`."""
        if data and (self.text.is_code(address) or self.text.is_code(address + len(data) - 1)):
            self.text.poke(address, data, who)
        else:
            self.memory.write(address, data)

    def return_to_caller(self, value: int | None = None) -> None:
        """At a function's first instruction: go on where it would return to.

        ``value`` is its 64-bit result, if it has one.
        """
        if value is not None:
            self.words[self.cpu.regs_class.RETURN] = value & _MASK
        self.cpu.return_to_caller(self.memory)

    # -- traps -------------------------------------------------------------------------------------

    def _on_interrupt(self, vector: int) -> None:
        cpu = self.cpu
        if vector == cpu.breakpoint_vector:
            if self.breakpoint():
                return
            trap = cpu.trap(vector)
            cpu.undo_breakpoint()
        elif vector == cpu.step_vector and self.step():
            return
        else:
            trap = cpu.trap(vector)
        self.dispatch(trap)

    def _on_invalid(self) -> bool:
        self.dispatch(Trap(TrapKind.UNDEFINED, 6))
        return True

    def dispatch(self, trap: Trap) -> None:
        """Offer ``trap`` to the handlers in order, to the notifiers, and then to :meth:`fault`."""
        regs = self.regs
        for handler in self.trap_handlers:
            if handler(trap, regs):
                return
        if not self.notify_die(trap, regs):
            self.fault(trap, regs)

    def notify_die(self, trap: Trap, regs: PtRegs) -> bool:
        """Whether a notifier has dealt with ``trap``, of which the guest's run would end.

        As in the kernel, the ip of an x86-64 breakpoint is the one behind it then.
        """
        event = event_of(trap, self.arch) if self.die_notifiers else None
        if event is None:
            return False
        ip = regs.ip
        if event is DieEvent.DIE_INT3:
            regs.ip = ip + 1
        if self.die_notifiers.call(event, regs, trap):
            return True
        if event is DieEvent.DIE_INT3:
            regs.ip = ip
        return False

    def fault(self, trap: Trap, regs: PtRegs) -> None:
        """End the run with a :class:`GuestFault` that tells of ``trap``."""
        raise self.fault_of(trap, regs.copy())

    def fault_of(self, trap: Trap, regs: PtRegs) -> GuestFault:
        """The error that tells of ``trap``, and all that is known of the reason."""
        hint = next(filter(None, (explain(trap, regs) for explain in self.explainers)), "")
        return GuestFault(trap, regs, self.symbolize(regs.ip), self.unwind(regs), hint)
