"""Registers and memory as small as the simulations need them."""

from __future__ import annotations

import struct
from collections.abc import Callable


class FakeRegs:
    """Registers that remember which vector register was written, and refuse to tell pc."""

    def __init__(self, x: dict[int, int] | None = None, pstate: int = 5) -> None:
        self.x = dict.fromkeys(range(31), 0) | (x or {})
        self.v: dict[int, tuple[int, int]] = {}
        self.pstate = pstate
        self.new_pc: int | None = None

    @property
    def pc(self) -> int:
        raise AssertionError("a simulation must not read pc")

    @pc.setter
    def pc(self, value: int) -> None:
        self.new_pc = value

    def gpr(self, n: int) -> int:
        return self.x[n]

    def set_gpr(self, n: int, value: int) -> None:
        assert n in self.x
        assert 0 <= value < 1 << 64
        self.x[n] = value

    def set_v(self, n: int, value: int, size: int) -> None:
        self.v[n] = (value, size)


class FakeMemory:
    """Bytes at one address."""

    def __init__(self, address: int = 0, content: bytes = b"") -> None:
        self.address = address
        self.content = content

    def _load(self, address: int, size: int) -> int:
        start = address - self.address
        assert 0 <= start <= len(self.content) - size, f"a load of {size} bytes at {address:#x}"
        return int.from_bytes(self.content[start : start + size], "little")

    def read_u32(self, address: int) -> int:
        return self._load(address, 4)

    def read_u64(self, address: int) -> int:
        return self._load(address, 8)


def code(words: list[int], address: int) -> Callable[[int, int], bytes]:
    """A ``read(address, size)`` of ``words``; reading anything else is an error."""
    content = struct.pack(f"<{len(words)}I", *words)

    def read(at: int, size: int) -> bytes:
        start = at - address
        assert 0 <= start <= len(content) - size, f"a read of {size} bytes at {at:#x}"
        return content[start : start + size]

    return read
