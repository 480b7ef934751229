"""The local APIC of a CPU (Intel SDM volume 3, chapter 11), as memory (xAPIC) and MSRs (x2APIC)."""

from __future__ import annotations

from typing import Protocol

from kprobesim.boot.state import Flag, Number, Parts, Saved, Table, fields
from kprobesim.boot.x86_64.apic_timer import ApicTimer

__all__ = ["LAPIC_BASE", "ApicBus", "LocalApic"]

LAPIC_BASE = 0xFEE0_0000
"""Where the registers are as memory, 16 bytes apart."""

# Registers by number: an address in memory is 16 times that, an MSR 0x800 more.
_ID, _VERSION, _TPR, _PPR, _EOI, _LDR, _DFR, _SVR = 2, 3, 8, 0xA, 0xB, 0xD, 0xE, 0xF
_ISR, _TMR, _IRR, _ESR, _ICR, _ICR_HIGH = 0x10, 0x18, 0x20, 0x28, 0x30, 0x31
_LVT_TIMER, _LVT_LINT0, _LVT_LINT1 = 0x32, 0x35, 0x36
_INITIAL, _CURRENT, _DIVIDE, _SELF_IPI = 0x38, 0x39, 0x3E, 0x3F
_LVT = (_LVT_TIMER, 0x33, 0x34, _LVT_LINT0, _LVT_LINT1, 0x37)

_VERSION_VALUE = 0x14 | len(_LVT) - 1 << 16
_MASKED, _ENABLED = 1 << 16, 1 << 8
_EXTINT, _NMI = 7 << 8, 4 << 8  # delivery modes of an LVT entry
_LVT_BITS = 0x7_F7FF
_ICR_BITS, _TO_SELF = 0xC_CFFF, 1 << 18
_WORD = 0xFFFF_FFFF

_BOOT_CPU, _X2APIC, _GLOBAL_ENABLE = 1 << 8, 1 << 10, 1 << 11  # IA32_APIC_BASE


class ApicBus(Protocol):
    """What a local APIC tells others."""

    def send(self, sender: LocalApic, icr: int) -> None:
        """An inter-processor interrupt, as the ICR says it (its destination in bits 32-63)."""

    def ended(self, vector: int) -> None:
        """A level-triggered interrupt was served."""

    def now(self) -> int:
        """The time in nanoseconds."""


class LocalApic(Saved):
    """That of CPU ``number``, which is its APIC ID, too.

    Attributes:
        base: IA32_APIC_BASE.
        irr: Which vectors are requested, one bit each.
        isr: Which are in service.
        nmi: Whether an NMI waits.
        waits_for_start: Whether the CPU has had an INIT, and no SIPI since.
        timer: Its timer.
    """

    SAVED = fields(
        base=Number(36),
        irr=Number(256),
        isr=Number(256),
        _level=Number(256),
        nmi=Flag(),
        waits_for_start=Flag(),
        timer=Parts(ApicTimer.SAVED),
        tpr=Number(8),
        _ldr=Number(32),
        _dfr=Number(32),
        _svr=Number(32),
        _icr=Number(64),
        _lvt=Table(_LVT),
    )

    def __init__(self, number: int, bus: ApicBus) -> None:
        """As the firmware leaves it: that of CPU 0 passes on what the 8259A says."""
        self.number = number
        self._bus = bus
        self.timer = ApicTimer()
        self._lvt = dict.fromkeys(_LVT, _MASKED)
        self.base = LAPIC_BASE | _GLOBAL_ENABLE | (0 if number else _BOOT_CPU)
        self.reset()
        if not number:  # "virtual wire mode"
            self._svr |= _ENABLED
            self._lvt[_LVT_LINT0], self._lvt[_LVT_LINT1] = _EXTINT, _NMI

    def reset(self) -> None:
        """INIT: all but the base."""
        self.irr = self.isr = self._level = 0
        self.nmi = self.waits_for_start = False
        self.tpr = self._ldr = self._icr = 0
        self._dfr, self._svr = _WORD, 0xFF
        self._lvt.update(dict.fromkeys(_LVT, _MASKED))
        self.timer.reset()

    # -- interrupts --------------------------------------------------------------------------------

    @property
    def is_enabled(self) -> bool:
        """Whether it is there at all, as CPUID then says."""
        return bool(self.base & _GLOBAL_ENABLE)

    @property
    def is_x2apic(self) -> bool:
        """Whether its registers are MSRs."""
        return self.base & _X2APIC != 0

    @property
    def passes_8259(self) -> bool:
        """Whether the CPU hears of the 8259A, which is at its pin LINT0."""
        if not self.is_enabled:
            return True
        return self._lvt[_LVT_LINT0] & (_MASKED | 7 << 8) == _EXTINT

    def accept(self, vector: int, *, level: bool = False) -> None:
        """Request the interrupt ``vector``, which has come from elsewhere."""
        if self._svr & _ENABLED and vector >= 16:
            bit = 1 << vector
            self.irr |= bit
            self._level = self._level | bit if level else self._level & ~bit

    def pending(self) -> int:
        """The vector of the interrupt that the CPU should take, or -1."""
        if not self.irr or not self._svr & _ENABLED:
            return -1
        vector = self.irr.bit_length() - 1
        return vector if vector >> 4 > self.priority >> 4 else -1

    @property
    def priority(self) -> int:
        """The processor priority register: what is not higher has to wait."""
        serving = self.isr.bit_length() - 1 if self.isr else 0
        return self.tpr if self.tpr >> 4 >= serving >> 4 else serving & 0xF0

    def acknowledge(self, vector: int) -> None:
        """The CPU has taken the interrupt ``vector``."""
        bit = 1 << vector
        self.irr &= ~bit
        self.isr |= bit

    def advance(self, now: int) -> None:
        """Let the timer interrupt if it is due."""
        if self.timer.advance(now):
            entry = self._lvt[_LVT_TIMER]
            if not entry & _MASKED:
                self.accept(entry & 0xFF)

    def is_destination(self, destination: int, *, logical: bool) -> bool:
        """Whether a message with this destination is for it; 0xFF is for all, also physically."""
        if not logical:
            return destination in (self.number, 0xFF, _WORD)
        if self.is_x2apic:
            return destination >> 16 == self._ldr >> 16 and bool(destination & self._ldr & 0xFFFF)
        own = self._ldr >> 24
        if self._dfr >> 28 == 15:
            return bool(own & destination)
        return own >> 4 == destination >> 4 and bool(own & destination & 15)

    def _end(self) -> None:
        if not self.isr:
            return
        vector = self.isr.bit_length() - 1
        self.isr &= ~(1 << vector)
        if self._level >> vector & 1:
            self._bus.ended(vector)

    # -- registers ---------------------------------------------------------------------------------

    def read(self, register: int) -> int:
        """The 32 bits of a register."""
        if register == _ID:
            return self.number if self.is_x2apic else self.number << 24
        if register == _CURRENT:
            return self.timer.count(self._bus.now())
        if register in self._lvt:
            return self._lvt[register]
        for first, bits in ((_ISR, self.isr), (_TMR, self._level), (_IRR, self.irr)):
            if first <= register < first + 8:
                return bits >> 32 * (register - first) & _WORD
        values = {
            _VERSION: _VERSION_VALUE,
            _TPR: self.tpr,
            _PPR: self.priority,
            _LDR: self._ldr,
            _DFR: self._dfr,
            _SVR: self._svr,
            _ICR: self._icr & _WORD,
            _ICR_HIGH: self._icr >> 32,
            _INITIAL: self.timer.initial,
            _DIVIDE: self.timer.divide,
        }
        return values.get(register, 0)

    def write(self, register: int, value: int) -> None:
        """Write a register of 32 bits."""
        timer, bus = self.timer, self._bus
        if register == _EOI:
            self._end()
        elif register == _ICR:
            self._icr = self._icr & ~_WORD | value & _ICR_BITS
            bus.send(self, self._icr)
        elif register == _ICR_HIGH:
            self._icr = self._icr & _WORD | value << 32
        elif register == _INITIAL:
            timer.start(value, bus.now())
        elif register == _TPR:
            self.tpr = value & 0xFF
        elif register in self._lvt:
            masked = 0 if self._svr & _ENABLED else _MASKED
            self._lvt[register] = value & _LVT_BITS | masked
            if register == _LVT_TIMER:
                timer.set_mode(value >> 17 & 3)
        elif register == _DIVIDE:
            timer.set_divide(value, bus.now())
        elif register == _LDR:
            self._ldr = value & 0xFF00_0000
        elif register == _DFR:
            self._dfr = value | 0x0FFF_FFFF
        elif register == _SVR:
            self._svr = value & 0x3FF
            if not value & _ENABLED:
                for each in _LVT:
                    self._lvt[each] |= _MASKED

    def read_msr(self, register: int) -> int:
        """The register as an MSR: the ICR has 64 bits there."""
        return self._icr if register == _ICR else self.read(register)

    def write_msr(self, register: int, value: int) -> None:
        """Write a register as an MSR."""
        if register == _ICR:
            self._icr = value & (_WORD << 32 | _ICR_BITS)
            self._bus.send(self, self._icr)
        elif register == _SELF_IPI:
            self._bus.send(self, _TO_SELF | value & 0xFF)
        elif register not in (_LDR, _DFR, _ICR_HIGH):
            self.write(register, value & _WORD)

    def write_base(self, value: int) -> None:
        """IA32_APIC_BASE is written: off, xAPIC or x2APIC. Its place stays."""
        wanted = value & (_X2APIC | _GLOBAL_ENABLE)
        self.base = self.base & ~(_X2APIC | _GLOBAL_ENABLE) | wanted
        if not self.is_enabled:
            self.reset()
        elif self.is_x2apic:
            self._ldr = self.number >> 4 << 16 | 1 << (self.number & 15)
