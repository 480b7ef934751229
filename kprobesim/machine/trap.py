"""What made the CPU leave the guest's code, the same words for both architectures."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from kprobesim.errors import GuestMemoryError
from kprobesim.hexrepr import HexRepr

__all__ = ["Trap", "TrapKind", "page_fault_of"]

_PF_WRITE = 2  # in the error code (asm/trap_pf.h); the page is not present
_DABT_EL1 = 0x25  # ESR's exception class; IL is set, and the fault one of translation, level 0
_ESR_DABT = _DABT_EL1 << 26 | 1 << 25 | 0x04
_ESR_WNR = 1 << 6


class TrapKind(str, enum.Enum):
    """The kinds of exception that a kernel tells apart."""

    BREAKPOINT = "breakpoint"
    STEP = "single step"
    PAGE_FAULT = "page fault"
    PROTECTION = "general protection fault"
    UNDEFINED = "undefined instruction"
    DIVIDE = "divide error"
    ALIGNMENT = "alignment fault"
    SYSCALL = "system call"
    HALT = "halt"
    UNRECOVERABLE_KPROBE = "unrecoverable kprobe: a probe was hit two levels inside others"
    OTHER = "exception"


@dataclass(frozen=True, repr=False)
class Trap(HexRepr):
    """One exception.

    ``number`` is the kernel's trap number (x86: the vector; ARM64: the exception class, ESR bits
    31:26), ``code`` the error code (x86) or the whole ESR (ARM64), ``address`` the address that a
    page fault could not reach, ``access`` "read", "write" or "execute" for a page fault.
    """

    kind: TrapKind
    number: int
    code: int = 0
    address: int | None = None
    access: str = ""

    def __str__(self) -> str:
        if self.kind is not TrapKind.PAGE_FAULT or self.address is None:
            return f"{self.kind.value} (number {self.number}, code {self.code:#x})"
        if self.address < 0x1000 and self.access != "execute":
            return f"{self.access} of a NULL pointer at {self.address:#x}"
        return f"unable to {self.access} at {self.address:#x}"


def page_fault_of(error: GuestMemoryError, arch: str) -> Trap:
    """The trap of a guest that accesses its memory as we did."""
    writes = error.what == "write"
    access = "write" if writes else "read"
    if arch == "arm64":
        esr = _ESR_DABT | (_ESR_WNR if writes else 0)
        return Trap(TrapKind.PAGE_FAULT, _DABT_EL1, esr, error.address, access)
    return Trap(TrapKind.PAGE_FAULT, 14, _PF_WRITE if writes else 0, error.address, access)
