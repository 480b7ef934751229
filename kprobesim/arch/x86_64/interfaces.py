"""What this room asks of the registers and the memory that it is handed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Emulate", "Memory", "Registers"]


class Registers(Protocol):
    """The part of ``struct pt_regs`` that emulation uses; ``cs`` for far returns only."""

    ip: int
    sp: int
    flags: int
    cx: int

    @property
    def cs(self) -> int:
        """The code segment's selector."""

    def gpr(self, number: int, /) -> int:
        """The register of this hardware number (0 ax, 1 cx, 2 dx, 3 bx, 4 sp, 5 bp ... 15 r15)."""
        ...


class Memory(Protocol):
    """The guest's memory; both raise ``GuestMemoryError``, before anything is changed."""

    def read_u64(self, address: int, /) -> int:
        """Eight bytes at ``address``."""

    def write_u64(self, address: int, value: int, /) -> None:
        """Write eight bytes at ``address``."""


Emulate = Callable[[Registers, Memory], None]
"""Carries out one instruction on the saved registers and sets ``ip``, which it never reads."""
