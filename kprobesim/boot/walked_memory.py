"""A booted guest's memory by virtual address: through the page tables it has made itself."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.machine.guest_ram import GuestRam
from kprobesim.machine.memory import HostAccess
from kprobesim.sizes import MASK64, PAGE

__all__ = ["Translate", "WalkedMemory"]


Translate = Callable[[int], "tuple[int, bool] | None"]
"""Virtual address to (physical address, executable by the kernel); ``None``: nothing is there."""


class WalkedMemory(HostAccess):
    """Host access to ``ram``, which starts at physical address ``base``.

    Nothing is cached: the guest may change its tables at any time.
    """

    def __init__(self, ram: GuestRam, base: int, translate: Translate) -> None:
        super().__init__(ram, base)
        self._translate = translate

    def _offset(self, address: int, size: int, what: str) -> int:
        found = self._translate(address)
        if found is None or not 0 <= found[0] - self.base < self.size:
            raise GuestMemoryError(address, size, what)
        return found[0] - self.base

    def _pieces(self, address: int, size: int, what: str) -> list[tuple[int, int]]:
        pieces = []
        while size > 0:
            length = min(size, PAGE - address % PAGE)
            pieces.append((self._offset(address, size, what), length))
            address = address + length & MASK64
            size -= length
        return pieces

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at virtual ``address``; raises :class:`GuestMemoryError`."""
        if size < 0:
            raise UsageError(f"cannot read {size} bytes")
        if 0 < size <= PAGE - address % PAGE:  # nearly all
            at = self._offset(address & MASK64, size, "read")
            return self.ram[at : at + size]
        pieces = self._pieces(address & MASK64, size, "read")
        return b"".join(self.ram[at : at + length] for at, length in pieces)

    def write(self, address: int, data: bytes) -> None:
        """Write ``data`` at virtual ``address``, all of it or nothing."""
        done = 0
        for at, length in self._pieces(address & MASK64, len(data), "write"):
            self.ram[at : at + length] = data[done : done + length]
            self.wrote(at, length)
            done += length

    def read_cstr(self, address: int, limit: int = 1 << 20) -> bytes:
        """The bytes at ``address`` up to, without, the first NUL; at most ``limit``."""
        out = bytearray()
        while len(out) < limit:
            address &= MASK64
            length = min(limit - len(out), PAGE - address % PAGE)
            chunk = self.read(address, length)
            text, end, _ = chunk.partition(b"\0")
            out += text
            if end:
                break
            address += length
        return bytes(out)

    def is_executable(self, address: int) -> bool:
        """Whether the kernel may execute what is at ``address``."""
        found = self._translate(address & MASK64)
        return found is not None and found[1]
