"""What a case is: kernel functions at work on data whose result Python knows, too."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kprobesim import Kernel


class Guest:
    """A kernel for the time of one case: what is allocated through it is freed at its end."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.arm64 = kernel.arch == "arm64"
        self._allocated: list[int] = []

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        for address in self._allocated:
            self.kernel.free(address)

    def buf(self, size: int) -> int:
        """The address of ``size`` zeroed bytes."""
        self._allocated.append(self.kernel.alloc(size))
        return self._allocated[-1]

    def put(self, data: bytes) -> int:
        """The address of a copy of ``data``."""
        address = self.buf(len(data))
        self.kernel.write(address, data)
        return address

    def code(self, x86_64: str, arm64: str) -> int:
        """The address of guest code, given in hexadecimal for each architecture."""
        data = bytes.fromhex(arm64 if self.arm64 else x86_64)
        self._allocated.append(self.kernel.alloc(len(data), executable=True))
        self.kernel.write(self._allocated[-1], data)
        return self._allocated[-1]

    def name(self, function: str) -> str | None:
        """The first of the names ``a|b`` that this kernel has: functions get renamed."""
        return next((name for name in function.split("|") if name in self.kernel.symbols), None)

    def call(self, function: str, *arguments: Any) -> int:
        """The 64-bit result."""
        return self.kernel.call(self.name(function) or function, *arguments)

    def u32(self, function: str, *arguments: Any) -> int:
        """The result of a function that returns a ``u32``; the upper half is undefined."""
        return self.call(function, *arguments) & 0xFFFF_FFFF

    def filled(self, size: int, function: str, *arguments: Any) -> bytes:
        """What a function leaves in the buffer that is its first argument."""
        buffer = self.buf(size)
        self.call(function, buffer, *arguments)
        return self.kernel.read(buffer, size)

    def read(self, address: int, size: int) -> bytes:
        """Guest memory."""
        return self.kernel.read(address, size)

    def u64s(self, address: int, count: int) -> list[int]:
        """Guest memory as 64-bit words."""
        data = self.kernel.read(address, 8 * count)
        return [word for (word,) in struct.iter_unpack("<Q", data)]

    def int(self, function: str, *arguments: Any) -> int:
        """The result of a function that returns an ``int``."""
        value = self.call(function, *arguments) & 0xFFFF_FFFF
        return value - (value >> 31 << 32)


@dataclass(frozen=True)
class Case:
    """``run`` uses ``functions``, all of which the kernel must have (``a|b``: one of them), and
    ``inner``, which are called by them and may have been inlined; its result is ``expected``.
    ``faults`` is how many instructions may fault on the way, for the exception table to handle.
    """

    name: str
    functions: tuple[str, ...]
    run: Callable[[Guest], Any]
    expected: Any
    inner: tuple[str, ...] = ()
    faults: int = 0


def case(
    functions: str,
    run: Callable[[Guest], Any],
    expected: Any,
    *,
    inner: str = "",
    name: str = "",
    faults: int = 0,
) -> Case:
    """A case; several functions are separated by blanks, the first one gives it its name."""
    names = tuple(functions.split())
    return Case(name or names[0].split("|")[0], names, run, expected, tuple(inner.split()), faults)
