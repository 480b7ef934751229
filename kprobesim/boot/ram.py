"""A booted guest's RAM, and the host's way to it through the guest's own page tables."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from typing import Protocol

from kprobesim.errors import GuestMemoryError, UsageError

__all__ = ["GuestWalk", "Ram", "WalkedMemory"]

_PAGE = 4096
_MASK = (1 << 64) - 1


class Ram:
    """``size`` bytes at physical address ``base``: ``bytes`` and 64-bit ``words`` of it, live."""

    def __init__(self, base: int, size: int) -> None:
        if size <= 0 or size % _PAGE:
            raise UsageError(f"{size} bytes of memory: give a multiple of {_PAGE}")
        try:
            self._map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError):
            raise UsageError(
                f"this computer cannot give the guest {size >> 20} MiB of RAM: ask for less"
            ) from None
        self.base = base
        self.size = size
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.bytes = memoryview(self._map)
        self.words = self.bytes.cast("Q")


class GuestWalk(Protocol):
    """One architecture's page walk; always by the tables that the CPU uses now."""

    def physical(self, address: int) -> int | None:
        """The physical address of virtual ``address``; ``None`` where nothing is mapped."""

    def is_executable(self, address: int) -> bool:
        """Whether the guest may execute what is at ``address``."""


class WalkedMemory:
    """Guest memory by virtual address. Implements :class:`kprobesim.machine.memory.HostAccess`.

    The host may read and write whatever is mapped onto RAM, whatever the guest may do with it.
    """

    def __init__(self, ram: Ram, walk: GuestWalk) -> None:
        self.ram = ram
        self._walk = walk

    def is_executable(self, address: int) -> bool:
        """Whether the guest may execute what is at ``address``."""
        return self._walk.is_executable(address & _MASK)

    def _pieces(self, address: int, size: int, what: str) -> Iterator[tuple[int, int]]:
        """(offset in RAM, length) page by page."""
        ram, done = self.ram, 0
        while done < size:
            at = address + done & _MASK
            length = min(size - done, _PAGE - at % _PAGE)
            physical = self._walk.physical(at)
            if physical is None or not 0 <= physical - ram.base <= ram.size - length:
                raise GuestMemoryError(at, size, what)
            yield physical - ram.base, length
            done += length

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at virtual ``address``; raises :class:`GuestMemoryError`."""
        if size < 0:
            raise UsageError(f"cannot read {size} bytes")
        data = self.ram.bytes
        return b"".join(bytes(data[at : at + n]) for at, n in self._pieces(address, size, "read"))

    def write(self, address: int, data: bytes) -> None:
        """Write ``data`` at virtual ``address``, all of it or nothing."""
        done = 0
        for at, length in list(self._pieces(address, len(data), "write")):
            self.ram.bytes[at : at + length] = data[done : done + length]
            done += length

    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """The bytes at ``address`` up to, without, the first NUL; at most ``limit``."""
        out = bytearray()
        for at, length in self._pieces(address, limit, "read"):
            piece = bytes(self.ram.bytes[at : at + length])
            head, nul, _ = piece.partition(b"\0")
            out += head
            if nul:
                break
        return bytes(out)

    def read_u64(self, address: int) -> int:
        """The little-endian 64-bit word at ``address``."""
        return int.from_bytes(self.read(address, 8), "little")

    def write_u64(self, address: int, value: int) -> None:
        """Write the little-endian 64-bit word at ``address``."""
        self.write(address, struct.pack("<Q", value & _MASK))

    def read_u32(self, address: int) -> int:
        """The little-endian 32-bit word at ``address``."""
        return int.from_bytes(self.read(address, 4), "little")

    def write_u32(self, address: int, value: int) -> None:
        """Write the little-endian 32-bit word at ``address``."""
        self.write(address, struct.pack("<I", value & 0xFFFFFFFF))
