"""A 16550A serial port (National Semiconductor PC16550D): sends at once, receives what is typed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kprobesim.boot.console import Console
from kprobesim.boot.state import Block, Flag, Number, Saved, fields

__all__ = ["Uart16550"]

_RX, _IER, _IIR, _LCR, _MCR, _LSR, _MSR, _SCR = range(8)
_RX_READY, _TX_EMPTY = 1, 2  # IER
_DLAB = 0x80
_LOOP, _OUT2 = 0x10, 0x08
_DATA_READY, _IDLE = 0x01, 0x60
_NO_INTERRUPT, _TX_INTERRUPT, _RX_INTERRUPT = 1, 2, 4


class Uart16550(Saved):
    """Eight ports; ``interrupt(level)`` is its line.

    What is typed stays with ``console`` until the driver has enabled the receiver's interrupt and
    reads it: a driver that starts clears the FIFO, and nothing that was typed before is lost.
    """

    SAVED = fields(
        _looped=Block(),
        _ier=Number(8),
        _lcr=Number(8),
        _scratch=Number(8),
        _mcr=Number(8),
        _divisor=Number(16),
        _fifo=Flag(),
        _tx_pending=Flag(),
        _level=Flag(),
    )

    def __init__(self, console: Console, interrupt: Callable[[bool], None]) -> None:
        self._console = console
        self._interrupt = interrupt
        self._looped: deque[int] = deque()
        self._ier = self._lcr = self._scratch = 0
        self._mcr = _OUT2
        self._divisor = 1
        self._fifo = False
        self._tx_pending = False
        self._level = False
        console.on_input = self._update

    def _ready(self) -> bool:
        return bool(self._looped or (self._ier & _RX_READY and self._console.waiting))

    def _receive(self) -> int:
        if self._looped:
            return self._looped.popleft()
        return (self._console.take() or 0) if self._ready() else 0

    def _source(self) -> int:
        if self._ier & _RX_READY and self._ready():
            return _RX_INTERRUPT
        if self._tx_pending and self._ier & _TX_EMPTY:
            return _TX_INTERRUPT
        return _NO_INTERRUPT

    def _update(self) -> None:
        # PCs gate the interrupt by OUT2; in loopback it is cut off.
        level = (
            self._source() != _NO_INTERRUPT and bool(self._mcr & _OUT2) and not self._mcr & _LOOP
        )
        if level != self._level:
            self._level = level
            self._interrupt(level)

    def read(self, port: int, _size: int) -> int:
        """IN."""
        register = port & 7
        if register == _LSR:
            return _IDLE | _DATA_READY if self._ready() else _IDLE
        if register == _RX:
            if self._lcr & _DLAB:
                return self._divisor & 0xFF
            value = self._receive()
            self._update()
            return value
        if register == _IER:
            return self._divisor >> 8 if self._lcr & _DLAB else self._ier
        if register == _IIR:
            source = self._source()
            if source == _TX_INTERRUPT:
                self._tx_pending = False
                self._update()
            return source | (0xC0 if self._fifo else 0)
        if register == _MSR:
            return self._modem_status()
        return (0, 0, 0, self._lcr, self._mcr, 0, 0, self._scratch)[register]

    def _modem_status(self) -> int:
        """CTS, DSR and DCD are on; in loopback the outputs come back."""
        if not self._mcr & _LOOP:
            return 0xB0
        mcr = self._mcr
        return (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 4) << 4 | (mcr & 8) << 4

    def write(self, port: int, _size: int, value: int) -> None:
        """OUT."""
        register = port & 7
        value &= 0xFF
        if register == _RX:
            if self._lcr & _DLAB:
                self._divisor = self._divisor & 0xFF00 | value
                return
            if self._mcr & _LOOP:
                self._looped.append(value)
            else:
                self._console.put(bytes((value,)))
            if self._ier & _TX_EMPTY:
                # The holding register was full for a moment: its interrupt is due again.
                self._tx_pending = False
                self._update()
            self._tx_pending = True
            self._update()
        elif register == _IER:
            if self._lcr & _DLAB:
                self._divisor = self._divisor & 0xFF | value << 8
                return
            if value & ~self._ier & _TX_EMPTY:
                self._tx_pending = True
            self._ier = value & 0x0F
            self._update()
        elif register == _IIR:
            self._fifo = bool(value & 1)
            if value & 2:
                self._looped.clear()
                self._update()
        elif register == _LCR:
            self._lcr = value
        elif register == _MCR:
            self._mcr = value & 0x1F
            self._update()
        elif register == _SCR:
            self._scratch = value
