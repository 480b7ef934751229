"""How interrupts come to the CPUs of a PC: two 8259A, an I/O APIC, a local APIC for each CPU."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.state import Flag, Saved, Tuples, fields
from kprobesim.boot.x86_64.ioapic import IoApic
from kprobesim.boot.x86_64.lapic import LocalApic
from kprobesim.boot.x86_64.madt import TIMER_PIN
from kprobesim.boot.x86_64.pic import PicPair
from kprobesim.boot.x86_64.pit import Pit

__all__ = ["FROM_8259", "Interrupts"]

_TIMER = 0
FROM_8259 = 1 << 8
"""What marks a pending interrupt as one of the 8259A's, beside its vector."""

_FIXED, _LOWEST, _NMI, _INIT, _START = 0, 1, 4, 5, 6
_ASSERTED, _LOGICAL = 1 << 14, 1 << 11  # of an ICR
_SELF, _ALL, _OTHERS = 1, 2, 3


class Interrupts(Saved):
    """The controllers of ``cpus`` CPUs, and the lines between them.

    Attributes:
        has_apics: Whether there are any but the 8259A; a guest that has begun without goes on so.
        pic: The 8259A.
        lapics: The local APICs by CPU.
        ioapic: The I/O APIC.
        starting: CPUs that are to begin, and in which page of memory.
        told: Called with a CPU that has been sent a message.
        on_init: Called with a CPU that is to do nothing until it is started.
        taken: Called with a CPU that has taken an interrupt.
    """

    SAVED = fields(has_apics=Flag(), starting=Tuples(8, (8, 8)))

    def __init__(self, cpus: int, now: Callable[[], int], pit: Pit) -> None:
        """Take the time from ``now()``; the timer ``pit`` is interrupt 0."""
        self.has_apics = True
        self.pic = PicPair()
        self.now = now
        self._pit = pit
        self.lapics = [LocalApic(number, self) for number in range(cpus)]
        self.ioapic = IoApic(self._message)
        self.starting: list[tuple[int, int]] = []
        self.told: Callable[[int], None] = lambda cpu: None
        self.on_init: Callable[[int], None] = lambda cpu: None
        self.taken: Callable[[int], None] = lambda cpu: None

    # -- what comes in -----------------------------------------------------------------------------

    def set_irq(self, irq: int, level: bool) -> None:
        """Raise or lower ISA interrupt ``irq`` (0-15), at all that listen to it."""
        self.pic.set_line(irq, level)
        self.ioapic.set_line(irq or TIMER_PIN, level)

    def advance(self) -> None:
        """Let all timers interrupt that are due."""
        now = self.now()
        # As in other virtual machines a tick waits for the one before it: none gets lost.
        if not self._tick_waits() and self._pit.advance(now):
            self.set_irq(_TIMER, False)
            self.set_irq(_TIMER, True)
        for lapic in self.lapics:
            lapic.advance(now)

    def _tick_waits(self) -> bool:
        """Whether the tick before was not yet taken."""
        vector = self.ioapic.vector(TIMER_PIN)
        if vector is None:
            return self.pic.is_requested(_TIMER)
        return any(lapic.irr >> vector & 1 for lapic in self.lapics)

    def next_event(self) -> int | None:
        """When the next timer interrupts, in nanoseconds; ``None``: none is running."""
        first = None if self._tick_waits() else self._pit.next_edge
        for lapic in self.lapics:
            due = lapic.timer.due
            if due is not None and (first is None or due < first):
                first = due
        return first

    # -- what goes out -----------------------------------------------------------------------------

    def pending(self, cpu: int) -> int:
        """The vector of the interrupt that a CPU should take, perhaps :data:`FROM_8259`; or -1."""
        vector = self.lapics[cpu].pending() if self.has_apics else -1
        return FROM_8259 | self.pic.vector() if vector < 0 and self._8259_asks(cpu) else vector

    def others_wait(self, cpu: int, pending: int) -> bool:
        """Whether a CPU that has just taken the interrupt ``pending`` may be asked to take one."""
        if pending & FROM_8259:
            return self.has_apics and self.lapics[cpu].pending() >= 0
        return self._8259_asks(cpu)

    def acknowledge(self, cpu: int, pending: int) -> None:
        """A CPU has taken what :meth:`pending` has said."""
        self.taken(cpu)
        if pending & FROM_8259:
            self.pic.acknowledge()
        else:
            self.lapics[cpu].acknowledge(pending)

    def _8259_asks(self, cpu: int) -> bool:
        if cpu or not self.pic.pending():
            return False
        return not self.has_apics or self.lapics[0].passes_8259

    # -- between them: they are an ApicBus ---------------------------------------------------------

    def send(self, sender: LocalApic, icr: int) -> None:
        """An inter-processor interrupt."""
        vector, mode, shorthand = icr & 0xFF, icr >> 8 & 7, icr >> 18 & 3
        lapics = self.lapics
        if shorthand == _SELF:
            lapics = [sender]
        elif shorthand == _OTHERS:
            lapics = [lapic for lapic in lapics if lapic is not sender]
        elif shorthand != _ALL:
            to = icr >> 32 if sender.is_x2apic else icr >> 56
            logical = bool(icr & _LOGICAL)
            lapics = [each for each in lapics if each.is_destination(to, logical=logical)]
        if mode == _INIT and not icr & _ASSERTED:
            return
        self._tell(lapics, vector, mode, level=False)

    def _message(self, vector: int, mode: int, to: int, logical: bool, level: bool) -> None:
        """One of the I/O APIC's."""
        lapics = [each for each in self.lapics if each.is_destination(to, logical=logical)]
        self._tell(lapics, vector, mode, level=level)

    def _tell(self, lapics: list[LocalApic], vector: int, mode: int, *, level: bool) -> None:
        if mode == _LOWEST and lapics:
            lapics, mode = [min(lapics, key=lambda lapic: lapic.priority)], _FIXED
        for lapic in lapics:
            if mode == _FIXED:
                lapic.accept(vector, level=level)
            elif mode == _NMI:
                lapic.nmi = True
            elif mode == _INIT:
                lapic.reset()
                lapic.waits_for_start = True
                self.on_init(lapic.number)
            elif mode == _START and lapic.waits_for_start:
                lapic.waits_for_start = False
                self.starting.append((lapic.number, vector))
            self.told(lapic.number)

    def ended(self, vector: int) -> None:
        """A level-triggered interrupt was served."""
        self.ioapic.ended(vector)
