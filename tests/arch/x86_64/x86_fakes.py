"""Registers and memory as small as the emulation needs them, and readers of test data."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from kprobesim.errors import GuestMemoryError

MASK64 = (1 << 64) - 1
NAMES = [
    "ax",
    "cx",
    "dx",
    "bx",
    "sp",
    "bp",
    "si",
    "di",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
]
DATA = Path(__file__).parent / "data"


class FakeRegs:
    """Registers that refuse to tell ip: an emulation must not need it."""

    def __init__(self, flags: int = 2, **values: int) -> None:
        self.values = [values.get(name, 0) for name in NAMES]
        self.flags = flags
        self.cs = 0x10
        self.new_ip: int | None = None

    @property
    def ip(self) -> int:
        raise AssertionError("an emulation must not read ip")

    @ip.setter
    def ip(self, value: int) -> None:
        assert 0 <= value <= MASK64
        self.new_ip = value

    @property
    def sp(self) -> int:
        return self.values[4]

    @sp.setter
    def sp(self, value: int) -> None:
        assert 0 <= value <= MASK64
        self.values[4] = value

    @property
    def cx(self) -> int:
        return self.values[1]

    @cx.setter
    def cx(self, value: int) -> None:
        assert 0 <= value <= MASK64
        self.values[1] = value

    def gpr(self, number: int) -> int:
        return self.values[number]


class FakeMemory:
    """``data`` mapped at ``base``, and nothing else."""

    def __init__(self, base: int, data: bytes) -> None:
        self.base = base
        self.data = bytearray(data)

    def _at(self, address: int, what: str) -> int:
        if not self.base <= address <= self.base + len(self.data) - 8:
            raise GuestMemoryError(address, 8, what)
        return address - self.base

    def read_u64(self, address: int) -> int:
        at = self._at(address, "read")
        return int.from_bytes(self.data[at : at + 8], "little")

    def write_u64(self, address: int, value: int) -> None:
        at = self._at(address, "write")
        self.data[at : at + 8] = value.to_bytes(8, "little")


def reader(base: int, code: bytes, padding: int = 16) -> Callable[[int, int], bytes]:
    """``read(address, size)`` of ``code`` at ``base`` with some INT3 behind it."""
    code = code + b"\xcc" * padding

    def read(address: int, size: int) -> bytes:
        if address < base or address + size > base + len(code):
            raise GuestMemoryError(address, size, "read")
        return code[address - base : address - base + size]

    return read


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a data file."""
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))
