"""The table that tells a kernel of its CPUs and I/O APIC: MADT (ACPI 6.4, 5.2.12)."""

from __future__ import annotations

import struct

from kprobesim.boot.x86_64.ioapic import IOAPIC_BASE, IOAPIC_ID
from kprobesim.boot.x86_64.lapic import LAPIC_BASE

__all__ = ["MADT_SIGNATURE", "TIMER_PIN", "madt"]

MADT_SIGNATURE = b"APIC"
TIMER_PIN = 2
"""Where the timer's interrupt is at the I/O APIC; the other ISA interrupts are at their own."""

_HAS_8259 = 1
_ENABLED = 1
_TIMER_IRQ, _ACPI_IRQ = 0, 9
_LEVEL_HIGH = 0b1101
_ALL_CPUS, _LINT1 = 0xFF, 1


def madt(cpus: int) -> bytes:
    """What is behind the table's header, for so many CPUs, whose APIC IDs are their numbers."""
    body = struct.pack("<II", LAPIC_BASE, _HAS_8259)
    for number in range(cpus):
        body += struct.pack("<BBBBI", 0, 8, number, number, _ENABLED)
    body += struct.pack("<BBBBII", 1, 12, IOAPIC_ID, 0, IOAPIC_BASE, 0)
    for irq, pin, flags in ((_TIMER_IRQ, TIMER_PIN, 0), (_ACPI_IRQ, _ACPI_IRQ, _LEVEL_HIGH)):
        body += struct.pack("<BBBBIH", 2, 10, 0, irq, pin, flags)
    return body + struct.pack("<BBBHB", 4, 6, _ALL_CPUS, 0, _LINT1)
