"""A guest's RAM: zeroed memory of the host's, or a private mapping of a file where one has it."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

from kprobesim.errors import UsageError
from kprobesim.machine.host_mapping import map_private

__all__ = ["GuestRam", "make_ram"]


class GuestRam(mmap.mmap):
    """``mapped`` says where it may hold more than the host has given it: start and end of each."""

    mapped: Sequence[tuple[int, int]] = ()

    @property
    def host_address(self) -> int:
        """Where it is in this process."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self))

    def map_file(self, descriptor: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Let these ranges of new RAM hold what they hold in a file, which stays as it is.

        Raises:
            EngineError: The host cannot map them.
        """
        address = self.host_address
        self.mapped = ranges
        for start, end in ranges:
            map_private(address + start, end - start, descriptor, start)


def make_ram(size: int) -> GuestRam:
    """``size`` zeroed bytes for a guest; raises :class:`UsageError`."""
    try:
        return GuestRam(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError):
        raise UsageError(
            f"this computer cannot give the guest {size >> 20} MiB of RAM: ask for less"
        ) from None
