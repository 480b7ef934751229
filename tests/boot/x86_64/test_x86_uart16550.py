"""The serial port: what is sent, what is received, and when it interrupts."""

from __future__ import annotations

import pytest

from kprobesim.boot.console import Console
from kprobesim.boot.x86_64.uart16550 import Uart16550

_COM1 = 0x3F8


class _Port:
    def __init__(self) -> None:
        self.console = Console()
        self.level = False
        self.edges = 0
        self.uart = Uart16550(self.console, self._line)
        self.write(4, 8)  # OUT2 lets interrupts through

    def _line(self, level: bool) -> None:
        self.edges += level and not self.level
        self.level = level

    def read(self, register: int) -> int:
        return self.uart.read(_COM1 + register, 1)

    def write(self, register: int, value: int) -> None:
        self.uart.write(_COM1 + register, 1, value)


@pytest.fixture
def port() -> _Port:
    return _Port()


def test_sends_and_is_idle_at_once(port: _Port) -> None:
    for byte in b"Linux":
        assert port.read(5) & 0x60 == 0x60
        port.write(0, byte)
    assert port.console.output == b"Linux"


def test_divisor_latch_hides_the_data(port: _Port) -> None:
    port.write(3, 0x83)
    port.write(0, 0x0C)
    port.write(1, 0x01)
    assert (port.read(0), port.read(1)) == (0x0C, 0x01)
    port.write(3, 0x03)
    assert port.read(1) == 0
    assert not port.console.output


def test_received_bytes_interrupt_until_all_are_read(port: _Port) -> None:
    port.console.send(b"ls")
    assert not port.level, "not enabled yet"
    port.write(1, 1)
    assert port.level
    assert port.read(2) & 0x0F == 4
    assert bytes((port.read(0),)) == b"l"
    assert port.level
    assert port.read(5) & 1
    assert bytes((port.read(0),)) == b"s"
    assert not port.level
    assert not port.read(5) & 1


def test_each_byte_sent_makes_the_transmitter_interrupt_again(port: _Port) -> None:
    port.write(1, 2)
    assert port.level
    assert port.read(2) & 0x0F == 2
    assert not port.level, "reading its identification takes it back"
    assert port.read(2) & 0x0F == 1
    for edges in (2, 3):
        port.write(0, 0x41)
        assert port.level
        assert port.edges == edges
        port.read(2)


def test_out2_gates_the_interrupt(port: _Port) -> None:
    port.write(4, 0)
    port.write(1, 2)
    assert not port.level
    port.write(4, 8)
    assert port.level


def test_fifo_shows_in_the_identification(port: _Port) -> None:
    assert port.read(2) & 0xC0 == 0
    port.write(2, 1)
    assert port.read(2) & 0xC0 == 0xC0


def test_what_is_typed_early_survives_the_driver_s_start(port: _Port) -> None:
    port.console.send(b"x")
    port.write(2, 7)
    port.read(0)
    assert not port.read(5) & 1, "the receiver's interrupt is off"
    port.write(1, 1)
    assert port.level
    assert port.read(0) == ord("x")


def test_loopback_returns_modem_lines_and_data(port: _Port) -> None:
    port.write(4, 0x1A)
    assert port.read(6) & 0xF0 == 0x90, "what Linux expects of a real port"
    port.write(0, 0x55)
    assert port.read(0) == 0x55
    assert not port.console.output


def test_scratch_register(port: _Port) -> None:
    port.write(7, 0xA5)
    assert port.read(7) == 0xA5
