"""PL011, Arm's serial port (ARM DDI 0183G): prints at once, and hands in what is typed."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.boot.console import Console
from kprobesim.boot.state import Number, Saved, Table, fields

__all__ = ["Pl011"]

_DR, _RSR, _FR = 0x00, 0x04, 0x18
_CR, _IMSC, _RIS, _MIS, _ICR = 0x30, 0x38, 0x3C, 0x40, 0x44
_STORED = (0x20, 0x24, 0x28, 0x2C, _CR, 0x34, _IMSC, 0x48)
_TX_EMPTY, _RX_EMPTY = 0x80, 0x10
_RX, _TX, _RX_TIMEOUT = 0x10, 0x20, 0x40
_ID = {0xFE0 + 4 * n: byte for n, byte in enumerate(bytes.fromhex("111034000df005b1"))}
_UART_ENABLE, _RX_ENABLE = 1, 0x200


class Pl011(Saved):
    """``output(level)`` is its interrupt line.

    A transmitted byte is gone at once, which raises the transmit interrupt; typed bytes wait in the
    console until they are read, and keep the receive interrupt up.
    """

    SAVED = fields(_registers=Table(_STORED, 16), _raised=Number(8))

    def __init__(self, console: Console, output: Callable[[bool], None]) -> None:
        self._console = console
        self._output = output
        self._registers = dict.fromkeys(_STORED, 0)
        self._registers[_CR] = 0x300
        self._raised = 0
        console.on_input = self.update

    def read(self, offset: int, _size: int) -> int:
        """A register; reading the data register takes a typed byte."""
        if offset == _FR:
            return _TX_EMPTY if self._console.waiting else _TX_EMPTY | _RX_EMPTY
        if offset == _DR:
            byte = self._console.take()
            self.update()
            return byte or 0
        if offset == _RIS:
            return self._raised
        if offset == _MIS:
            return self._raised & self._registers[_IMSC]
        return self._registers.get(offset, _ID.get(offset, 0))

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a register; the data register prints."""
        if offset == _DR:
            self._console.put(bytes((value & 0xFF,)))
            self._raised |= _TX
            if not self._registers[_IMSC]:
                return  # the boot console polls, and nothing else can have changed
        elif offset == _ICR:
            self._raised &= ~value
        elif offset in self._registers:
            self._registers[offset] = value & 0xFFFF
        self.update()

    def update(self) -> None:
        """Look whether something is typed, and set the line."""
        listening = _UART_ENABLE | _RX_ENABLE
        if self._console.waiting and self._registers[_CR] & listening == listening:
            self._raised |= _RX | _RX_TIMEOUT
        else:
            self._raised &= ~(_RX | _RX_TIMEOUT)
        self._output(bool(self._raised & self._registers[_IMSC]))
