"""The 8254 interval timer of a PC and port 0x61, which gates its third channel.

Nothing runs: counters and outputs are computed from the virtual time at which they are asked for
(Intel 8254 data sheet, 231164).
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.state import Flag, Maybe, Number, Parts, Saved, fields

__all__ = ["HZ", "Pit"]

HZ = 1_193_182
_NS = 1_000_000_000
_BACKLOG_NS = 250_000_000  # of ticks that a guest which is late still gets
_REFRESH_NS = 15_085  # half a period of the memory refresh signal at port 0x61


def _to_ns(ticks: int) -> int:
    """The first nanosecond at which ``ticks`` have passed."""
    return -(-ticks * _NS // HZ)


class _Channel(Saved):
    SAVED = fields(
        mode=Number(3),
        reload=Number(17, 1),
        started=Maybe(Number(63)),
        gate=Flag(),
        access=Number(2),
        _latched=Maybe(Number(16)),
        _status=Maybe(Number(8)),
        _high_next=Flag(),
        _low=Maybe(Number(8)),
    )

    def __init__(self) -> None:
        self.mode = 3
        self.reload = 0x10000
        self.started: int | None = None  # ns; None: waits for its count
        self.gate = True
        self.access = 3
        self._latched: int | None = None
        self._status: int | None = None
        self._high_next = False
        self._low: int | None = None

    def program(self, mode: int, access: int) -> None:
        self.mode = mode - 4 if mode > 5 else mode  # 6 and 7 are 2 and 3
        self.access = access
        self.started = None
        self._latched = self._status = self._low = None
        self._high_next = False

    def write(self, value: int, now: int) -> None:
        if self.access == 3 and self._low is None:
            self._low = value
            return
        if self.access == 3:
            count, self._low = (self._low or 0) | value << 8, None
        else:
            count = value << 8 if self.access == 2 else value
        self.reload = count or 0x10000
        self.started = now

    def _ticks(self, now: int) -> int:
        assert self.started is not None
        return (now - self.started) * HZ // _NS

    def count(self, now: int) -> int:
        """What the counting element holds."""
        if self.started is None:
            return self.reload & 0xFFFF
        if not self.gate:
            return self.reload & 0xFFFF
        ticks = self._ticks(now)
        if self.mode == 2:
            return self.reload - ticks % self.reload & 0xFFFF
        if self.mode == 3:
            return self.reload - 2 * ticks % self.reload & 0xFFFF
        return self.reload - ticks & 0xFFFF

    def output(self, now: int) -> bool:
        """The level of the output pin."""
        if self.started is None or not self.gate:
            return self.mode != 0
        ticks = self._ticks(now)
        if self.mode in (0, 1):
            return ticks >= self.reload
        if self.mode == 2:
            return ticks % self.reload != self.reload - 1
        if self.mode == 3:
            return ticks % self.reload < (self.reload + 1) // 2
        return ticks != self.reload  # 4 and 5: low for one tick

    def edge_after(self, now: int) -> int | None:
        """When the output next rises, after ``now``; only for modes that interrupt."""
        if self.started is None or not self.gate:
            return None
        ticks = self._ticks(now)
        if self.mode in (2, 3):
            return self.started + _to_ns((ticks // self.reload + 1) * self.reload)
        at = self.started + _to_ns(self.reload + (self.mode >= 4))
        return at if at > now else None

    def latch(self, now: int) -> None:
        if self._latched is None:
            self._latched = self.count(now)

    def latch_status(self, now: int) -> None:
        if self._status is None:
            null = self.started is None
            self._status = self.output(now) << 7 | null << 6 | self.access << 4 | self.mode << 1

    def read(self, now: int) -> int:
        if self._status is not None:
            status, self._status = self._status, None
            return status
        value = self._latched if self._latched is not None else self.count(now)
        if self.access == 3:
            high, self._high_next = self._high_next, not self._high_next
            if not high:
                return value & 0xFF
            self._latched = None
            return value >> 8
        self._latched = None
        return value >> 8 if self.access == 2 else value & 0xFF


class Pit(Saved):
    """Ports 0x40-0x43 and 0x61. ``now()`` is the virtual time in ns; channel 0 is IRQ 0.

    :attr:`next_edge` is when channel 0 interrupts next (ns, ``None``: it does not).
    """

    PORTS = (0x40, 0x41, 0x42, 0x43, 0x61)
    SAVED = fields(
        _channels=Parts(_Channel.SAVED, 3),
        _speaker=Number(2),
        next_edge=Maybe(Number(63)),
    )

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._channels = [_Channel(), _Channel(), _Channel()]
        self._channels[2].gate = False
        self._speaker = 0
        self.next_edge: int | None = None

    def advance(self, now: int) -> bool:
        """Whether channel 0 has interrupted since it was last asked; ticks come one by one."""
        if self.next_edge is None or now < self.next_edge:
            return False
        self.next_edge = self._channels[0].edge_after(max(self.next_edge, now - _BACKLOG_NS))
        return True

    def read(self, port: int, _size: int) -> int:
        """IN."""
        now = self._now()
        if port == 0x61:
            refresh = now // _REFRESH_NS & 1
            return self._speaker | refresh << 4 | self._channels[2].output(now) << 5
        return self._channels[port & 3].read(now) if port != 0x43 else 0xFF

    def write(self, port: int, _size: int, value: int) -> None:
        """OUT."""
        value &= 0xFF
        now = self._now()
        if port == 0x61:
            gate = bool(value & 1)
            channel = self._channels[2]
            if gate and not channel.gate and channel.started is not None:
                channel.started = now
            channel.gate = gate
            self._speaker = value & 3
        elif port == 0x43:
            self._command(value, now)
        else:
            self._channels[port & 3].write(value, now)
        if port in (0x40, 0x43):
            self.next_edge = self._channels[0].edge_after(now)

    def _command(self, value: int, now: int) -> None:
        select, access = value >> 6, value >> 4 & 3
        if select == 3:  # read back
            for n, channel in enumerate(self._channels):
                if value >> n + 1 & 1:
                    if not value & 0x20:
                        channel.latch(now)
                    if not value & 0x10:
                        channel.latch_status(now)
        elif access == 0:
            self._channels[select].latch(now)
        else:
            self._channels[select].program(value >> 1 & 7, access)
