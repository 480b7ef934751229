"""A kernel's code as the kernel patches it: a private, writable copy of an image."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from kprobesim.errors import ImageError
from kprobesim.image import KernelImage

__all__ = ["Code", "branch", "code_areas", "displacement"]


class Code:
    """The code in ``image``, of which :meth:`write` and :meth:`each` change a copy.

    ``names``: whose symbols :meth:`symbol` knows, if not the image's; a module's code is patched by
    those of its kernel.
    """

    def __init__(self, image: KernelImage, names: KernelImage | None = None) -> None:
        self.image = image
        self._names = names or image
        self._areas = list(code_areas(image))
        self._starts = [start for start, _ in self._areas]
        self._copies: dict[int, bytearray] = {}
        self.variables: dict[int, bytes] = {}
        """What boot writes into data that the code goes with, by address."""

    @property
    def changed(self) -> dict[int, bytearray]:
        """The areas of code that differ from the file, by their addresses."""
        return {self._starts[number]: copy for number, copy in self._copies.items()}

    def _find(self, address: int, size: int) -> tuple[int, int] | None:
        """Area and offset of a range of code."""
        number = bisect_right(self._starts, address) - 1
        if number < 0:
            return None
        offset = address - self._starts[number]
        return (number, offset) if offset + size <= len(self._areas[number][1]) else None

    def _copy(self, number: int) -> bytearray:
        copy = self._copies.get(number)
        if copy is None:
            copy = self._copies[number] = bytearray(self._areas[number][1])
        return copy

    def holds(self, address: int, size: int = 1) -> bool:
        """Whether the file has these bytes of code."""
        return self._find(address, size) is not None

    def read(self, address: int, size: int) -> bytes:
        """The bytes as they are now; ``ImageError`` outside of the image."""
        found = self._find(address, size)
        if found is None:
            return self._read_across(address, size)
        number, offset = found
        data = self._copies.get(number) or self._areas[number][1]
        return bytes(data[offset : offset + size])

    def _read_across(self, address: int, size: int) -> bytes:
        """What does not lie in one area, or in none."""
        data = bytearray(self.image.read(address, size))
        for start, copy in self.changed.items():
            low, high = max(address, start), min(address + size, start + len(copy))
            if low < high:
                data[low - address : high - address] = copy[low - start : high - start]
        return bytes(data)

    def read_word(self, address: int) -> int:
        """The 64-bit word at ``address``."""
        return int.from_bytes(self.read(address, 8), "little")

    def write(self, address: int, new: bytes) -> None:
        """Change the copy; ``ImageError`` outside of the code."""
        found = self._find(address, len(new))
        if found is None:
            raise ImageError(
                self.image.path,
                f"has a table of places to patch that names {address:#x}, which it does not hold",
            )
        number, offset = found
        self._copy(number)[offset : offset + len(new)] = new

    def each(self, places: Iterable[int], size: int) -> Iterator[tuple[int, bytearray, int]]:
        """For each of ``places`` with ``size`` bytes: it, a segment to change, its offset there.

        Tables have entries for what the linker dropped: places outside of the image are left out.
        """
        data = bytearray()
        base = last = 0
        for place in places:
            if not base <= place <= last:
                found = self._find(place, size)
                if found is None:
                    continue
                data = self._copy(found[0])
                base = self._starts[found[0]]
                last = base + len(data) - size
            yield place, data, place - base

    def distances(self, start: str, stop: str, section: str) -> list[int]:
        """The addresses in a table of 32-bit distances, each counted from its own place."""
        found = self.image.table(start, stop, section)
        if found is None:
            return []
        base, table = found
        words = struct.unpack(f"<{len(table) // 4}i", table[: len(table) & ~3])
        return [base + 4 * index + word for index, word in enumerate(words)]

    def symbol(self, name: str) -> int | None:
        """The address of the one symbol of that name."""
        found = self._names.symbols.candidates(name)
        return found[0].address if len(found) == 1 else None

    def name_at(self, address: int) -> str | None:
        """The name of the symbol that begins at ``address``."""
        found = self._names.symbols.at(address)
        return found.symbol.name if found is not None and found.offset == 0 else None


def code_areas(image: KernelImage) -> Iterator[tuple[int, memoryview]]:
    """The pages of code with their addresses, as far as the file has them."""
    for region in image.regions:
        if region.kind not in ("text", "mixed"):
            continue
        for segment in image.segments:
            part = segment.part(region.start, region.end)
            if part is not None:
                yield part.vaddr, part.data


def displacement(source: int, target: int) -> bytes:
    """The 32 bits of an x86 branch that ends at ``source``."""
    return ((target - source) & 0xFFFF_FFFF).to_bytes(4, "little")


def branch(opcode: int, place: int, target: int) -> bytes:
    """An x86 call or jump at ``place``, five bytes long."""
    return bytes([opcode]) + displacement(place + 5, target)
