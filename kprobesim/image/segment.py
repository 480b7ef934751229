"""What of an image is loaded: segments as the file has them, regions as code needs them."""

from __future__ import annotations

from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["ImageRegion", "Segment", "findable"]


@dataclass(frozen=True, slots=True, repr=False)
class Segment(HexRepr):
    """A run of guest memory with its bytes.

    ``vaddr`` and ``paddr`` are where the kernel runs and where the boot loader puts it, ``data``
    the bytes from the file; the rest up to ``memsz`` is zero.
    """

    vaddr: int
    paddr: int
    data: memoryview
    memsz: int
    readable: bool
    writable: bool
    executable: bool
    name: str

    @property
    def end(self) -> int:
        """First virtual address after the segment."""
        return self.vaddr + self.memsz

    def first(self, size: int) -> bytes:
        """The first ``size`` bytes, or fewer if it has no more."""
        return bytes(self.data[:size])

    def part(self, start: int, end: int) -> Segment | None:
        """What of it the file has in ``[start, end)``; ``None`` if nothing."""
        low, high = max(start, self.vaddr), min(end, self.vaddr + len(self.data))
        if low >= high:
            return None
        data = self.data[low - self.vaddr : high - self.vaddr]
        paddr = self.paddr + low - self.vaddr
        flags = self.readable, self.writable, self.executable
        return Segment(low, paddr, data, len(data), *flags, self.name)

    def __contains__(self, vaddr: int) -> bool:
        return self.vaddr <= vaddr < self.end


@dataclass(frozen=True, slots=True, repr=False)
class ImageRegion(HexRepr):
    """Whole pages ``[start, end)`` of one ``kind``.

    ``"text"`` holds code and nothing writable, ``"mixed"`` code and writable data on one page,
    ``"rodata"`` constants, ``"data"`` the rest. Only text and mixed pages need be executable.
    """

    start: int
    end: int
    kind: str


def findable(data: memoryview | bytes) -> bytes | bytearray:
    """``data`` as something that has ``find`` and quick slices, without a copy where it can be."""
    if isinstance(data, bytes):
        return data
    whole = data.obj
    if isinstance(whole, (bytes, bytearray)) and len(whole) == data.nbytes:
        return whole
    return bytes(data)
