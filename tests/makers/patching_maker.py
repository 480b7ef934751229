"""Kernels of a page of code and a page of tables, for what boot patches."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

from kprobesim.image import KernelImage
from kprobesim.image.segment import Segment
from kprobesim.image.symbols.table import Columns

CODE, DATA = 0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8200_0000
SIZE = 0x4000


class Maker:
    """Fill in code and tables, then :meth:`image`; addresses are from ``CODE`` and ``DATA`` on."""

    def __init__(self, arch: str = "x86_64", version: str = "6.1.0") -> None:
        self.arch = arch
        self._memory = {CODE: bytearray(SIZE), DATA: bytearray(SIZE)}
        self._next = DATA + 0x1000
        self.symbols: dict[str, int] = {"_stext": CODE, "_etext": CODE + SIZE}
        self.symbols |= {"__start_rodata": DATA, "__end_rodata": DATA + SIZE}
        banner = f"Linux version {version} (tester) #1 SMP\n\0".encode()
        self.symbols["linux_banner"] = self.put(self.room(len(banner)), banner)

    def room(self, size: int) -> int:
        """An address for ``size`` bytes of data."""
        address = self._next
        self._next += -(-size // 16) * 16
        return address

    def put(self, address: int, data: bytes) -> int:
        """Write ``data`` at ``address``, which is returned."""
        base = CODE if address < CODE + SIZE else DATA
        self._memory[base][address - base : address - base + len(data)] = data
        return address

    def bound(self, names: tuple[str, str, str], address: int, size: int) -> None:
        """Let the first two of ``names`` bound a table."""
        self.symbols[names[0]], self.symbols[names[1]] = address, address + size

    def places(self, names: tuple[str, str, str], places: list[int]) -> None:
        """A table of 32-bit distances to ``places``."""
        at = self.room(4 * len(places))
        for number, place in enumerate(places):
            self.put(at + 4 * number, struct.pack("<i", place - at - 4 * number))
        self.bound(names, at, 4 * len(places))

    def image(self) -> KernelImage:
        """The kernel."""
        names = sorted(self.symbols, key=self.symbols.__getitem__)
        columns = Columns(
            [name.encode() for name in names],
            array("Q", [self.symbols[name] for name in names]),
            None,
            b"".join(b"T" if self.symbols[name] < DATA else b"D" for name in names),
        )
        segments = [
            Segment(base, base, memoryview(bytes(data)), SIZE, True, base == DATA, base == CODE, "")
            for base, data in self._memory.items()
        ]
        return KernelImage(
            Path("made"), self.arch, "a test", CODE, segments, read_columns=lambda _: (columns, "")
        )
