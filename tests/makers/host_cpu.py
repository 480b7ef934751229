"""Machine code for the host, run in an emulated CPU: for hosts of every kind, on each of them."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Sequence

from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import assemble

__all__ = ["CODE_AT", "PAGE", "REALS", "SIZE", "HostCpu"]

PAGE = 4096
CODE_AT, REALS = 0x2000, 0x4000  # words lie before the code
SIZE = 0x1000_0000  # an argument on the stack, or in the last register
_CPUS = {"x86_64": ("x86_64", b"\xf4"), "aarch64": ("arm64", struct.pack("<I", 0xD503207F))}
_ARGUMENTS = {"x86_64": (7, 6, 2, 1, 8), "aarch64": (0, 1, 2, 3, 4)}  # word numbers


class HostCpu:
    """A CPU of ``host`` with a listing's code, and halts in place of the functions it calls.

    ``reals`` are where those functions are, by name. Memory ends at 0x8000.
    """

    def __init__(self, host: str, listing: str, names: Sequence[str]) -> None:
        arch, self.halt = _CPUS[host]
        self.engine, self.ram = Engine(arch), mmap.mmap(-1, 0x8000)
        self.host = host
        self.engine.map_ram(0, 0x8000, ctypes.addressof(ctypes.c_char.from_buffer(self.ram)))
        code, self.labels = assemble(listing)
        self.ram[CODE_AT : CODE_AT + len(code)] = code
        self.reals = {name: REALS + 16 * n for n, name in enumerate(names)}
        for at in (*self.reals.values(), REALS - 16):
            self.ram[at : at + len(self.halt)] = self.halt

    def put_words(self, names: Sequence[str], values: dict[str, int]) -> None:
        """What lies before the code: ``values``, and where the functions are."""
        known = {**self.reals, **values}
        for number, name in enumerate(names):
            self.put(CODE_AT - PAGE + 8 * number, known.get(name, 0))

    def put(self, at: int, value: int) -> None:
        """Store a word."""
        struct.pack_into("<Q", self.ram, at, value)

    def get(self, at: int) -> int:
        """Load a word."""
        return int(struct.unpack_from("<Q", self.ram, at)[0])

    def call(self, label: str, *arguments: int) -> tuple[str, tuple[int, ...]]:
        """Where it went, "" for its caller, with which arguments."""
        words, numbers = self.engine.words, _ARGUMENTS[self.host]
        values = (*arguments, *range(100, 105 - len(arguments)))
        for number, value in zip(numbers, values, strict=True):
            words[number] = value
        if self.host == "x86_64":
            words[4] = 0x7000
            self.ram[0x7000:0x7010] = struct.pack("<2Q", REALS - 16, SIZE)
        else:
            words[31], words[30], words[6] = 0x7000, REALS - 16, SIZE
        assert self.engine.run(CODE_AT + self.labels[label]) == 0
        pc = words[self.engine.layout.pc]
        places = {at + len(self.halt): name for name, at in self.reals.items()}
        return places.get(pc, ""), tuple(words[number] for number in numbers)

    @property
    def result(self) -> int:
        """What the function has returned: an ``int``."""
        return self.engine.words[0] & 0xFFFF_FFFF
