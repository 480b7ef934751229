"""Where a PC has its APICs in memory, and nothing around them: HPET and flash are not there."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.x86_64.interrupts import Interrupts
from kprobesim.boot.x86_64.ioapic import IOAPIC_BASE
from kprobesim.boot.x86_64.lapic import LAPIC_BASE, LocalApic
from kprobesim.machine.unicorn.hooks import Hooks
from kprobesim.sizes import MASK64, PAGE

__all__ = ["map_apics"]

_FIRST, _END = 0xFEC0_0000, 0x1_0000_0000
_WORD = 0xFFFF_FFFF


def map_apics(
    hooks: Hooks,
    interrupts: Interrupts,
    current: Callable[[], LocalApic | None],
    settle: Callable[[], None],
    changed: Callable[[], None],
) -> None:
    """Put them into the memory of the engine that has ``hooks``.

    Args:
        hooks: The engine's.
        interrupts: Where they are.
        current: Gives the local APIC of the CPU that runs, if there is one.
        settle: Called before the I/O APIC is looked at.
        changed: Called when one was written to.
    """

    def read_local(offset: int, _size: int) -> int:
        lapic = current()
        if lapic is None or not lapic.is_enabled or lapic.is_x2apic:
            return MASK64
        return lapic.read(offset >> 4)

    def write_local(offset: int, _size: int, value: int) -> None:
        lapic = current()
        if lapic is not None and lapic.is_enabled and not lapic.is_x2apic:
            lapic.write(offset >> 4, value & _WORD)
            changed()

    def read_io(offset: int, _size: int) -> int:
        if not interrupts.has_apics:
            return MASK64
        settle()
        return interrupts.ioapic.read(offset)

    def write_io(offset: int, _size: int, value: int) -> None:
        if interrupts.has_apics:
            settle()
            interrupts.ioapic.write(offset, value)
            changed()

    at = _FIRST
    for start, read, write in (
        (IOAPIC_BASE, read_io, write_io),
        (LAPIC_BASE, read_local, write_local),
    ):
        if start > at:
            hooks.map_device(at, start - at, lambda *_: MASK64, lambda *_: None)
        hooks.map_device(start, PAGE, read, write)
        at = start + PAGE
    hooks.map_device(at, _END - at, lambda *_: MASK64, lambda *_: None)
