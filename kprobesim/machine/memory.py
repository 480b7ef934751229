"""Guest memory: RAM, what of it is mapped where, and host access by virtual address."""

from __future__ import annotations

import ctypes
import enum
import struct
from abc import ABC, abstractmethod
from bisect import bisect_right, insort
from collections.abc import Callable

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass, field
from kprobesim.machine.guest_ram import GuestRam, make_ram
from kprobesim.machine.paging import PageTables, PteFormat
from kprobesim.machine.unicorn.code_pages import CodePages
from kprobesim.sizes import MASK64, PAGE, page_up

__all__ = [
    "DIRECT_MAP",
    "GuestMemory",
    "HostAccess",
    "Prot",
    "Region",
]

_and = int.__and__  # enumerations take a microsecond for that

DIRECT_MAP = "direct map"
"""The name of the region that maps the RAM itself, where it is in use by others, too."""


class Prot(enum.IntFlag):
    """What the guest may do with a page. The host may always read and write it."""

    R = 1
    W = 2
    X = 4
    USER = 8
    RW = R | W
    RX = R | X


@dataclass(frozen=True, order=True, repr=False)
class Region(HexRepr):
    """The virtual range [``start``, ``end``), which lies at RAM offset ``offset``."""

    start: int
    end: int
    offset: int = field(compare=False)
    prot: Prot = field(compare=False)
    name: str = field(compare=False)


class HostAccess(ABC):
    """The host's way to guest memory by virtual address; each raises :class:`GuestMemoryError`.

    Attributes:
        ram: The guest's RAM.
        base: Its physical address.
        size: Its bytes.
        host_address: Where it is in this process.
    """

    def __init__(self, ram: GuestRam, base: int) -> None:
        self.ram = ram
        self.base = base
        self.size = len(ram)
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(ram))
        self._code = bytearray()
        self._code_pages: CodePages | None = None

    def watch_code(self, pages: CodePages) -> None:
        """Drop what was translated from where the host writes, from now on."""
        self._code_pages, self._code = pages, pages.code

    def wrote(self, offset: int, size: int) -> None:
        """The host has written ``size`` bytes at ``offset`` of the RAM."""
        pages = self._code_pages
        if pages is not None:
            pages.forget(offset, size)

    def place(self, address: int, size: int) -> slice | None:
        """Where ``size`` bytes, at most a page, now are in :attr:`ram`, if in one piece."""
        at, *others = self._pieces(address, size, "read")
        return None if others else slice(at[0], at[0] + at[1])

    def physical(self, address: int, size: int) -> list[tuple[int, int]]:
        """(Physical address, length) of each piece of a range, as it is mapped now."""
        base = self.base
        return [(base + at, length) for at, length in self._pieces(address, size, "read")]

    @abstractmethod
    def _pieces(self, address: int, size: int, what: str) -> list[tuple[int, int]]:
        """(RAM offset, length) of each piece of a range."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at ``address``."""

    @abstractmethod
    def write(self, address: int, data: bytes) -> None:
        """Write ``data`` at ``address``, all of it or nothing."""

    @abstractmethod
    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """The bytes at ``address`` up to, without, the first NUL; at most ``limit``."""

    @abstractmethod
    def is_executable(self, address: int) -> bool:
        """Whether the guest may execute what is at ``address``."""

    def read_u64(self, address: int) -> int:
        """The little-endian 64-bit word at ``address``."""
        return int.from_bytes(self.read(address, 8), "little")

    def write_u64(self, address: int, value: int) -> None:
        """Write the little-endian 64-bit word at ``address``."""
        self.write(address, struct.pack("<Q", value & MASK64))

    def read_u32(self, address: int) -> int:
        """The little-endian 32-bit word at ``address``."""
        return int.from_bytes(self.read(address, 4), "little")


class GuestMemory(HostAccess):
    """RAM of ``size`` bytes at physical address ``base``, and the virtual regions on it.

    Frames are handed out in ascending order from :attr:`next_frame` on. The regions say the same as
    the guest's page tables; host accesses ask the regions, so they need no walk.
    """

    def __init__(self, base: int, size: int, pte_format: PteFormat) -> None:
        super().__init__(make_ram(size), base)
        self._words = memoryview(self.ram).cast("Q")
        self.next_frame = base
        self._frames_end = base + size
        self.regions: list[Region] = []
        self._starts: list[int] = []
        self._last = Region(0, 0, 0, Prot(0), "")
        self._free_frames: dict[int, list[int]] = {}
        self.tables = PageTables(self.ram, base, self.take_frames, pte_format)

    # -- layout --------------------------------------------------------------------------------

    def take_frames(self, count: int = 1, align: int = PAGE) -> int:
        """The physical address of ``count`` fresh zeroed pages."""
        frame = (self.next_frame + align - 1) & -align
        if frame + count * PAGE > self._frames_end:
            raise UsageError(
                f"the guest's {self.size >> 20} MiB of RAM are used up; load it with more memory"
            )
        self.next_frame = frame + count * PAGE
        return frame

    def limit_frames(self, end: int) -> None:
        """Hand out no frames from physical address ``end`` on."""
        self._frames_end = end

    def map(self, start: int, physical: int, size: int, prot: Prot, name: str) -> Region:
        """Map whole pages at virtual ``start`` onto ``physical``."""
        region = Region(start, start + size, physical - self.base, prot, name)
        at = bisect_right(self._starts, start)
        for neighbour in self.regions[max(at - 1, 0) : at + 1]:
            if neighbour.start < region.end and region.start < neighbour.end:
                raise UsageError(
                    f"cannot map {name} at {start:#x}: {neighbour.name} is at "
                    f"{neighbour.start:#x}-{neighbour.end:#x}"
                )
        insort(self.regions, region)
        self._starts.insert(at, start)
        self.tables.map(start, physical, size, int(prot))
        return region

    def map_new(self, start: int, size: int, prot: Prot, name: str) -> Region:
        """Map fresh zeroed pages at virtual ``start``."""
        size = page_up(size)
        freed = self._free_frames.get(size // PAGE)
        if freed:
            offset = freed[-1] - self.base
            self.ram[offset : offset + size] = bytes(size)
            self.wrote(offset, size)
        region = self.map(
            start, freed[-1] if freed else self.take_frames(size // PAGE), size, prot, name
        )
        if freed:
            freed.pop()
        return region

    def unmap(self, region: Region) -> None:
        """Take ``region`` of :meth:`map_new` away, for good; its frames are used again."""
        self.withdraw(region)
        size, physical = region.end - region.start, region.offset + self.base
        self._free_frames.setdefault(size // PAGE, []).append(physical)

    def withdraw(self, region: Region) -> None:
        """Undo :meth:`map`; who cached translations must forget them."""
        at = self.regions.index(region)
        del self.regions[at], self._starts[at]
        self._last = Region(0, 0, 0, Prot(0), "")
        self.tables.unmap(region.start, region.offset + self.base, region.end - region.start)

    def save(self) -> tuple[list[Region], int, dict[int, list[int]]]:
        """What is mapped, for :meth:`restore`."""
        free = {pages: frames[:] for pages, frames in self._free_frames.items()}
        return self.regions[:], self.next_frame, free

    def restore(self, kept: tuple[list[Region], int, dict[int, list[int]]]) -> None:
        """The RAM, and so the page tables, are as they were when :meth:`save` gave ``kept``."""
        regions, self.next_frame, free = kept
        self.regions = regions[:]
        self._starts = [region.start for region in regions]
        self._free_frames = {pages: frames[:] for pages, frames in free.items()}
        self._last = Region(0, 0, 0, Prot(0), "")

    def restore_beside(
        self, kept: tuple[list[Region], int, dict[int, list[int]]], stays: Callable[[Region], bool]
    ) -> None:
        """As :meth:`restore`, but all regions that ``stays`` are those of now; contents are not.

        Frames that are in use now are not handed out again.
        """
        now, _, free = self.save()
        self.restore(kept)
        staying = {(region.start, region.offset): region for region in now if stays(region)}
        # (Those that page tables have taken since then are free again.)
        ends = [
            region.offset + self.base + region.end - region.start for region in staying.values()
        ]
        ends += [frame + pages * PAGE for pages, frames in free.items() for frame in frames]
        self.next_frame = max(self.next_frame, *ends, 0)
        for region in [region for region in self.regions if stays(region)]:
            if staying.pop((region.start, region.offset), None) is None:
                self.withdraw(region)
        for region in staying.values():
            size = region.end - region.start
            self.map(region.start, region.offset + self.base, size, region.prot, region.name)
        used = [
            range(region.offset + self.base, region.offset + self.base + region.end - region.start)
            for region in self.regions
            if region.name != DIRECT_MAP
        ]
        self._free_frames = {
            pages: [frame for frame in frames if not any(frame in each for each in used)]
            for pages, frames in free.items()
        }

    def protect(self, region: Region, prot: Prot) -> Region:
        """Change what the guest may do there; who cached translations must forget them."""
        changed = Region(region.start, region.end, region.offset, prot, region.name)
        self.regions[self.regions.index(region)] = self._last = changed
        size = region.end - region.start
        self.tables.map(region.start, region.offset + self.base, size, int(prot))
        return changed

    def find_gap(self, start: int, end: int, size: int) -> int:
        """The lowest page from ``start`` on, up to ``end``, behind which ``size`` bytes are free.

        Raises :class:`UsageError` if there is none.
        """
        at = page_up(start)
        for region in self.regions:
            if region.end <= at:
                continue
            if region.start >= at + size:
                break
            at = region.end
        if at + size > end:
            raise UsageError(f"the guest's addresses {start:#x}-{end:#x} are used up")
        return at

    def region(self, address: int) -> Region | None:
        """The region that holds ``address``."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address < self.regions[at].end:
            return self.regions[at]
        return None

    def is_executable(self, address: int) -> bool:
        """Whether the guest may execute what is at ``address``."""
        region = self.region(address)
        return region is not None and _and(region.prot, Prot.X) != 0

    # -- access --------------------------------------------------------------------------------

    def _offset(self, address: int, size: int, what: str) -> int:
        """The RAM offset of ``size`` bytes that lie in one region."""
        region = self._last
        if not region.start <= address < region.end:
            found = self.region(address)
            if found is None:
                raise GuestMemoryError(address, size, what)
            region = self._last = found
        if address + size > region.end:
            return -1
        return address - region.start + region.offset

    def _pieces(self, address: int, size: int, what: str) -> list[tuple[int, int]]:
        """(RAM offset, length) of each piece of a range that may span regions."""
        pieces = []
        while size > 0:
            region = self.region(address)
            if region is None:
                raise GuestMemoryError(address, size, what)
            length = min(size, region.end - address)
            pieces.append((address - region.start + region.offset, length))
            address += length
            size -= length
        return pieces

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at virtual ``address``; raises :class:`GuestMemoryError`."""
        address &= MASK64
        region = self._last
        if region.start <= address and 0 < size <= region.end - address:
            at = address - region.start + region.offset
            return self.ram[at : at + size]
        if size < 0:
            raise UsageError(f"cannot read {size} bytes")
        at = self._offset(address, size, "read") if size else 0
        if at >= 0:
            return self.ram[at : at + size]
        return b"".join(self.ram[at : at + n] for at, n in self._pieces(address, size, "read"))

    def write(self, address: int, data: bytes) -> None:
        """Write ``data`` at virtual ``address``, all of it or nothing."""
        address &= MASK64
        size = len(data)
        at = self._offset(address, size, "write") if size else 0
        if at >= 0:
            self.ram[at : at + size] = data
            if self._code.find(1, at >> 12, (at + size + PAGE - 1) >> 12) >= 0:
                self.wrote(at, size)
            return
        done = 0
        for at, length in self._pieces(address, size, "write"):
            self.ram[at : at + length] = data[done : done + length]
            self.wrote(at, length)
            done += length

    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """The bytes at ``address`` up to, without, the first NUL; at most ``limit``."""
        address &= MASK64
        out = bytearray()
        while len(out) < limit:
            region = self.region(address)
            if region is None:
                raise GuestMemoryError(address, 1, "read")
            start = address - region.start + region.offset
            stop = region.end - region.start + region.offset
            end = self.ram.find(b"\0", start, min(stop, start + limit - len(out)))
            if end >= 0:
                return bytes(out) + self.ram[start:end]
            out += self.ram[start : min(stop, start + limit - len(out))]
            address = region.end
        return bytes(out)

    def read_u64(self, address: int) -> int:
        """The little-endian 64-bit word at ``address``."""
        region = self._last
        if address & 7 == 0 and region.start <= address < region.end:
            return self._words[address - region.start + region.offset >> 3]
        at = self._offset(address, 8, "read")
        if at >= 0:
            return int.from_bytes(self.ram[at : at + 8], "little")
        return super().read_u64(address)

    def write_u64(self, address: int, value: int) -> None:
        """Write the little-endian 64-bit word at ``address``."""
        region = self._last
        if address & 7 == 0 and region.start <= address < region.end:
            at = address - region.start + region.offset
            self._words[at >> 3] = value & MASK64
            code = self._code
            if code and code[at >> 12] == 1:
                self.wrote(at, 8)
        else:
            super().write_u64(address, value)
