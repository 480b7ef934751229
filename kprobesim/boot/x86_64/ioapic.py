"""The I/O APIC of a PC: 24 lines that become messages to local APICs (Intel 82093AA)."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.state import Number, Numbers, Saved, fields

__all__ = ["IOAPIC_BASE", "IOAPIC_ID", "PINS", "IoApic"]

IOAPIC_BASE = 0xFEC0_0000
"""Where its registers are."""
PINS = 24
IOAPIC_ID = 15
"""Its own, which no CPU has."""

_SELECT, _WINDOW = 0, 0x10
_ID, _VERSION, _ARBITRATION, _TABLE = 0, 1, 2, 0x10
_VERSION_VALUE = 0x11 | PINS - 1 << 16
_WORD = 0xFFFF_FFFF

# A redirection entry.
_LOGICAL, _REMOTE_IRR, _LEVEL, _MASKED = 1 << 11, 1 << 14, 1 << 15, 1 << 16
_WRITABLE = 0xFF << 56 | 0x1_AFFF

Send = Callable[[int, int, int, bool, bool], None]
"""``send(vector, delivery mode, destination, logical, level)``."""


class IoApic(Saved):
    """Lines in, messages out."""

    SAVED = fields(
        _selected=Number(8), _id=Number(4), _lines=Number(PINS), _table=Numbers(PINS, 64)
    )

    def __init__(self, send: Send) -> None:
        """All lines are masked; ``send`` is called with each message."""
        self._send = send
        self._selected, self._id, self._lines = 0, IOAPIC_ID, 0
        self._table = [_MASKED] * PINS

    def set_line(self, pin: int, level: bool) -> None:
        """Raise or lower an input; of a masked edge nothing is remembered."""
        bit = 1 << pin
        rises = level and not self._lines & bit
        self._lines = self._lines | bit if level else self._lines & ~bit
        if self._table[pin] & _LEVEL:
            self._serve(pin)
        elif rises and not self._table[pin] & _MASKED:
            self._deliver(pin)

    def vector(self, pin: int) -> int | None:
        """The vector of a line; ``None`` if it is masked."""
        entry = self._table[pin]
        return None if entry & _MASKED else entry & 0xFF

    def ended(self, vector: int) -> None:
        """A level-triggered interrupt was served; it comes again while its line is raised."""
        for pin, entry in enumerate(self._table):
            if entry & _LEVEL and entry & 0xFF == vector:
                self._table[pin] &= ~_REMOTE_IRR
                self._serve(pin)

    def _serve(self, pin: int) -> None:
        """Send what a level asks for, if it was not."""
        entry = self._table[pin]
        if self._lines >> pin & 1 and not entry & (_MASKED | _REMOTE_IRR):
            self._table[pin] |= _REMOTE_IRR
            self._deliver(pin)

    def _deliver(self, pin: int) -> None:
        entry = self._table[pin]
        self._send(
            entry & 0xFF, entry >> 8 & 7, entry >> 56, bool(entry & _LOGICAL), bool(entry & _LEVEL)
        )

    # -- registers ---------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        """What is at ``offset`` from its base."""
        if offset == _SELECT:
            return self._selected
        if offset != _WINDOW:
            return 0
        number = self._selected
        if number in (_ID, _ARBITRATION):
            return self._id << 24
        if number == _VERSION:
            return _VERSION_VALUE
        pin, high = divmod(number - _TABLE, 2)
        return self._table[pin] >> 32 * high & _WORD if 0 <= pin < PINS else 0

    def write(self, offset: int, value: int) -> None:
        """Write what is at ``offset`` from its base."""
        if offset == _SELECT:
            self._selected = value & 0xFF
        elif offset == _WINDOW and self._selected == _ID:
            self._id = value >> 24 & 15
        elif offset == _WINDOW:
            pin, high = divmod(self._selected - _TABLE, 2)
            if 0 <= pin < PINS:
                self._write_entry(pin, (value & _WORD) << 32 * high, _WORD << 32 * high)

    def _write_entry(self, pin: int, value: int, mask: int) -> None:
        mask &= _WRITABLE
        entry = self._table[pin] & ~mask | value & mask
        if not entry & _LEVEL:
            entry &= ~_REMOTE_IRR
        self._table[pin] = entry
        if entry & _LEVEL:
            self._serve(pin)
