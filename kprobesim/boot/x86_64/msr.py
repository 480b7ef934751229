"""The model-specific registers that this board answers itself: those of the local APIC."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.x86_64.lapic import LocalApic

__all__ = ["ApicMsrs"]

_BASE, _DEADLINE = 0x1B, 0x6E0  # IA32_APIC_BASE, IA32_TSC_DEADLINE
_X2APIC = range(0x800, 0x840)


class ApicMsrs:
    """RDMSR and WRMSR of the local APIC of the CPU that runs."""

    RANGES = (range(_BASE, _BASE + 1), range(_DEADLINE, _DEADLINE + 1), _X2APIC)

    def __init__(
        self, current: Callable[[], LocalApic | None], changed: Callable[[], None]
    ) -> None:
        """``current()`` is that local APIC; ``changed()`` is called when it was written to."""
        self._current = current
        self._changed = changed

    def read(self, number: int) -> int | None:
        """What register ``number`` holds; ``None`` if it is not there."""
        lapic = self._current()
        if lapic is None:
            return None
        if number == _BASE:
            return lapic.base
        if number == _DEADLINE:
            return lapic.timer.deadline
        return lapic.read_msr(number - _X2APIC.start) if lapic.is_x2apic else None

    def write(self, number: int, value: int) -> bool:
        """Write register ``number``; false if it is not there."""
        lapic = self._current()
        if lapic is None:
            return False
        if number == _BASE:
            lapic.write_base(value)
        elif number == _DEADLINE:
            lapic.timer.set_deadline(value)
        elif lapic.is_x2apic:
            lapic.write_msr(number - _X2APIC.start, value)
        else:
            return False
        self._changed()
        return True
