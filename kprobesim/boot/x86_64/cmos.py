"""The MC146818 real-time clock of a PC: the time of day, and RAM that is all zero."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from kprobesim.boot.state import Block, Number, Saved, fields

__all__ = ["EPOCH", "Cmos"]

EPOCH = datetime(2025, 1, 1, tzinfo=timezone.utc)
"""When every guest starts: the host's clock would make two runs differ."""

_NS = 1_000_000_000
_24_HOURS, _BINARY = 2, 4
_CENTURY = 0x32


class Cmos(Saved):
    """Ports 0x70 and 0x71. ``now()`` is the virtual time in ns since :data:`EPOCH`."""

    PORTS = (0x70, 0x71)
    SAVED = fields(_index=Number(7), _ram=Block(128))

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._index = 0
        self._ram = bytearray(128)
        self._ram[0x0A] = 0x26  # 32,768 Hz, no update in progress
        self._ram[0x0B] = _24_HOURS
        self._ram[0x0D] = 0x80  # the battery is good

    def read(self, port: int, _size: int) -> int:
        """IN."""
        if port & 1 == 0:
            return 0xFF
        index = self._index
        time = EPOCH + timedelta(seconds=self._now() // _NS)
        fields = {
            0: time.second,
            2: time.minute,
            4: time.hour,
            6: time.isoweekday() % 7 + 1,
            7: time.day,
            8: time.month,
            9: time.year % 100,
            _CENTURY: time.year // 100,
        }
        if index not in fields:
            return self._ram[index]
        value = fields[index]
        return value if self._ram[0x0B] & _BINARY else value // 10 << 4 | value % 10

    def write(self, port: int, _size: int, value: int) -> None:
        """OUT. The time itself cannot be set."""
        if port & 1 == 0:
            self._index = value & 0x7F
        elif self._index == 0x0B:
            self._ram[0x0B] = value & 0x8F | _24_HOURS  # no interrupts
        elif self._index not in (0x0C, 0x0D):
            self._ram[self._index] = value & 0xFF
