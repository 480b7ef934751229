"""GICv2: distributor and one CPU interface (ARM IHI 0048B). One CPU, one group, level lines."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.state import Block, Flag, Number, Numbers, Saved, Tuples, fields

__all__ = ["SPURIOUS", "Gic"]

LINES = 96
SPURIOUS = 1023
_IDLE = 0x100  # a running priority below all others

_WORDS = LINES // 32
_ALL = (1 << LINES) - 1
_SGIS = 0xFFFF
_IIDR = 0x0200_043B  # an implementation of Arm's
_PIDR2 = 0x2B  # architecture version 2


class Gic(Saved):
    """``output(level)`` is the line to the CPU; ``set_line`` are the devices' lines.

    The state of interrupt n is bit n of ``enabled``, ``latched`` (software made it pending),
    ``active`` and ``_lines``.
    """

    SAVED = fields(
        _level=Flag(),
        enabled=Number(LINES),
        latched=Number(LINES),
        active=Number(LINES),
        _lines=Number(LINES),
        _priority=Block(LINES),
        _targets=Block(LINES),
        _config=Numbers(LINES // 16, 64),
        _group=Numbers(_WORDS, 64),
        _distributor_on=Number(2),
        _interface_on=Number(64),
        _mask=Number(8),
        _binary_point=Number(3),
        _running=Tuples(LINES, (10, 9)),
    )

    def __init__(self, output: Callable[[bool], None]) -> None:
        self._output = output
        self._level = False
        self.enabled = _SGIS
        self.latched = 0
        self.active = 0
        self._lines = 0
        self._priority = bytearray(LINES)
        self._targets = bytearray(b"\1" * 32 + bytes(LINES - 32))
        self._config = [0] * (LINES // 16)
        self._group = [0] * _WORDS
        self._distributor_on = self._interface_on = 0
        self._mask = self._binary_point = 0
        self._running: list[tuple[int, int]] = []  # (interrupt, its priority), the newest last

    @property
    def level(self) -> bool:
        """Whether the CPU is being interrupted."""
        return self._level

    def set_line(self, interrupt: int, level: bool) -> None:
        """A device raises or lowers its line."""
        bit = 1 << interrupt
        lines = self._lines | bit if level else self._lines & ~bit
        if lines != self._lines:
            self._lines = lines
            self._update()

    def _best(self) -> int:
        """The interrupt that the CPU should take now, or SPURIOUS."""
        if not (self._distributor_on & 1 and self._interface_on & 1):
            return SPURIOUS
        waiting = (self.latched | self._lines) & self.enabled & ~self.active
        best, limit = SPURIOUS, min(self._mask, self._running[-1][1] if self._running else _IDLE)
        while waiting:
            low = waiting & -waiting
            interrupt = low.bit_length() - 1
            if self._priority[interrupt] < limit:
                best, limit = interrupt, self._priority[interrupt]
            waiting ^= low
        return best

    def _update(self) -> None:
        level = self._best() != SPURIOUS
        if level != self._level:
            self._level = level
            self._output(level)

    # -- the distributor's registers ---------------------------------------------------------------

    def read_distributor(self, offset: int, size: int) -> int:
        """A register, or some bytes of those that can be read by the byte."""
        if 0x400 <= offset < 0x400 + LINES:
            return int.from_bytes(self._priority[offset - 0x400 :][:size], "little")
        if 0x800 <= offset < 0x800 + LINES:
            return int.from_bytes(self._targets[offset - 0x800 :][:size], "little")
        if offset == 0:
            return self._distributor_on
        if offset == 4:
            return LINES // 32 - 1  # one CPU, no security extensions
        if offset == 8:
            return _IIDR
        if offset == 0xFE8:
            return _PIDR2
        bank, word = offset & ~0x7F, (offset & 0x7C) // 4
        if bank == 0xC00 or bank == 0xC80:
            index = (offset - 0xC00) // 4
            return self._config[index] if index < len(self._config) else 0
        if word >= _WORDS:
            return 0
        if bank == 0x80:
            return self._group[word]
        bits = {
            0x100: self.enabled,
            0x180: self.enabled,
            0x200: self.latched | self._lines,
            0x280: self.latched | self._lines,
            0x300: self.active,
            0x380: self.active,
        }.get(bank, 0)
        return bits >> 32 * word & 0xFFFF_FFFF

    def write_distributor(self, offset: int, size: int, value: int) -> None:
        """Write a register; what this board does not have ignores it, as the manual wants."""
        bank, word = offset & ~0x7F, (offset & 0x7C) // 4
        if 0x400 <= offset < 0x400 + LINES:
            self._write_bytes(self._priority, offset - 0x400, size, value)
        elif 0x820 <= offset < 0x800 + LINES:
            self._write_bytes(self._targets, offset - 0x800, size, value)
        elif offset == 0:
            self._distributor_on = value & 3
        elif offset == 0xF00:
            self._send(value)
        elif 0xC00 <= offset < 0xC00 + 4 * len(self._config):
            self._config[(offset - 0xC00) // 4] = value
        elif word < _WORDS:
            bits = (value & 0xFFFF_FFFF) << 32 * word & _ALL
            if bank == 0x80:
                self._group[word] = value
            elif bank == 0x100:
                self.enabled |= bits
            elif bank == 0x180:
                self.enabled &= ~bits | _SGIS
            elif bank == 0x200:
                self.latched |= bits & ~_SGIS
            elif bank == 0x280:
                self.latched &= ~bits | _SGIS
            elif bank == 0x300:
                self.active |= bits
            elif bank == 0x380:
                self.active &= ~bits
        self._update()

    @staticmethod
    def _write_bytes(array: bytearray, at: int, size: int, value: int) -> None:
        for index in range(min(size, LINES - at)):
            array[at + index] = value >> 8 * index & 0xFF

    def _send(self, value: int) -> None:
        """GICD_SGIR: an interrupt from software, to a list of CPUs or to this one."""
        to, targets = value >> 24 & 3, value >> 16 & 0xFF
        if to == 2 or (to == 0 and targets & 1):
            self.latched |= 1 << (value & 0xF)

    # -- the CPU interface's registers -------------------------------------------------------------

    def read_interface(self, offset: int, _size: int) -> int:
        """A register; reading the acknowledge register takes the interrupt."""
        if offset == 0x0C:
            return self._acknowledge()
        if offset == 0:
            return self._interface_on
        if offset == 4:
            return self._mask
        if offset == 8:
            return self._binary_point
        if offset == 0x14:
            return self._running[-1][1] if self._running else 0xFF
        if offset == 0x18:
            return self._best()
        return 0x0002_043B if offset == 0xFC else 0

    def write_interface(self, offset: int, _size: int, value: int) -> None:
        """Write a register; the end-of-interrupt register ends the newest interrupt."""
        if offset == 0x10:
            self._end(value & 0x3FF)
        elif offset == 0x1000:
            self.active &= ~(1 << (value & 0x3FF))
        elif offset == 0:
            self._interface_on = value
        elif offset == 4:
            self._mask = value & 0xFF
        elif offset == 8:
            self._binary_point = value & 7
        self._update()

    def _acknowledge(self) -> int:
        interrupt = self._best()
        if interrupt != SPURIOUS:
            bit = 1 << interrupt
            self.active |= bit
            self.latched &= ~bit
            self._running.append((interrupt, self._priority[interrupt]))
            self._update()
        return interrupt

    def _end(self, interrupt: int) -> None:
        """Drop the priority and, unless EOImodeNS says that GICC_DIR does it, deactivate."""
        if self._running and any(running == interrupt for running, _ in self._running):
            while self._running.pop()[0] != interrupt:
                pass
        if not self._interface_on & 0x200:
            self.active &= ~(1 << interrupt)
