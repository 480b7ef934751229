"""The interrupt input of the CPU that runs: offered to the engine, or polled between two runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kprobesim.boot.x86_64.interrupts import Interrupts
from kprobesim.boot.x86_64.state import HF_INHIBIT_IRQ, X86State
from kprobesim.machine.unicorn.intercepts import Intercepts

__all__ = ["InterruptInput", "OfferedInput", "PolledInput"]

_IF = 0x200
_NMI = 2
_SOON_NS = 400  # how long an interrupt waits until it is looked again whether it may come ...
_LATE_NS = 100 * _SOON_NS  # ... each time twice as long, up to this


class InterruptInput(Protocol):
    """How what the controllers ask for comes to the CPU ``cpu``."""

    cpu: int

    @property
    def look_at(self) -> int | None:
        """When to call :meth:`update` at the latest, in nanoseconds; ``None``: no matter when."""

    def settle(self) -> None:
        """Before anybody looks at a controller: tell it what the CPU has taken."""

    def update(self) -> bool:
        """Between two runs: let the CPU have what waits; whether it takes it before all else."""

    def has_changed(self) -> bool:
        """In a run, a controller has changed: whether the run must end for :meth:`update`."""

    def halted(self) -> None:
        """The CPU waits for an interrupt, and takes it at once."""

    def withdraw(self) -> None:
        """Between two runs: leave nothing of it in the engine."""


class OfferedInput:
    """Offers interrupts to an engine that takes them by itself, wherever the guest lets it."""

    look_at: int | None = None

    def __init__(
        self, intercepts: Intercepts, interrupts: Interrupts, state: X86State, counts: list[int]
    ) -> None:
        """Count what is taken in ``counts``, by vector."""
        self.cpu = 0
        self._intercepts = intercepts
        self._interrupts = interrupts
        self._state = state
        self._counts = counts
        self._offered = -1
        self._nmi_offered = False

    def settle(self) -> None:
        """Acknowledge what was offered, if it is not any more."""
        offered = self._offered
        if offered >= 0 and not self._intercepts.is_offered:
            self._offered = -1
            self._interrupts.acknowledge(self.cpu, offered)
            self._counts[offered & 0xFF] += 1
        if self._nmi_offered and not self._intercepts.is_nmi_offered:
            self._nmi_offered = False
            self._interrupts.lapics[self.cpu].nmi = False
            self._counts[_NMI] += 1

    def update(self) -> bool:
        """Offer the interrupt that waits."""
        self.settle()
        interrupts, cpu = self._interrupts, self.cpu
        pending = interrupts.pending(cpu)
        if pending != self._offered:
            self._offered = pending
            if pending >= 0:
                ends_run = interrupts.others_wait(cpu, pending)
                self._intercepts.offer(pending & 0xFF, ends_run=ends_run)
            else:
                self._intercepts.withdraw()
        if interrupts.lapics[cpu].nmi and not self._nmi_offered:
            self._nmi_offered = True
            self._intercepts.offer_nmi(True)
        return self._nmi_offered or (pending >= 0 and self._state.eflags & _IF != 0)

    def has_changed(self) -> bool:
        """Withdraw what is no longer asked for."""
        pending = self._interrupts.pending(self.cpu)
        if pending != self._offered and self._offered >= 0:
            self._offered = -1
            self._intercepts.withdraw()
        return pending != self._offered or (
            self._interrupts.lapics[self.cpu].nmi and not self._nmi_offered
        )

    def halted(self) -> None:
        """The engine knows."""

    def withdraw(self) -> None:
        """Settle, and offer nothing."""
        self.settle()
        self._intercepts.withdraw()
        self._intercepts.offer_nmi(False)
        self._offered, self._nmi_offered = -1, False


class PolledInput:
    """Looks between two runs whether the guest lets an interrupt come: where nothing else can be.

    Attributes:
        look_at: When to look again whether the CPU takes the interrupt that waits. A time and not a
            number of runs: where the host interrupts the guest must not be seen by it.
    """

    def __init__(
        self, interrupts: Interrupts, state: X86State, deliver: Callable[[int], None]
    ) -> None:
        """Let ``deliver`` enter the handler of a vector."""
        self.cpu = 0
        self._interrupts = interrupts
        self._state = state
        self._deliver = deliver
        self.look_at: int | None = None
        self._soon = _SOON_NS

    def settle(self) -> None:
        """Nothing is taken behind anybody's back."""

    def update(self) -> bool:
        """Deliver the interrupt that waits, if the CPU takes it now."""
        now, interrupts = self._interrupts.now(), self._interrupts
        pending = interrupts.pending(self.cpu)
        if pending < 0:
            self.look_at, self._soon = None, _SOON_NS
            return False
        if self.look_at is not None and now < self.look_at:
            return False
        state = self._state
        if not state.eflags & _IF:
            self.look_at = now + self._soon
            self._soon = min(2 * self._soon, _LATE_NS)
            return False
        if state.hflags & HF_INHIBIT_IRQ:  # for one instruction, after STI or MOV SS
            self.look_at = now + 1
            return False
        self.look_at, self._soon = None, _SOON_NS
        interrupts.acknowledge(self.cpu, pending)
        self._deliver(pending & 0xFF)
        return True

    def has_changed(self) -> bool:
        """Whether something waits."""
        return self._interrupts.pending(self.cpu) >= 0

    def halted(self) -> None:
        """Look at once."""
        self.look_at = None

    def withdraw(self) -> None:
        """Look when the guest runs again."""
        self.look_at, self._soon = None, _SOON_NS
