"""What made the CPU leave the guest's code, the same words for both architectures."""

from __future__ import annotations

from kprobesim.arch.architecture import ARM64, architecture, halves
from kprobesim.arch.trap_kind import TrapKind
from kprobesim.errors import GuestMemoryError
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["Trap", "TrapKind", "page_fault_of"]

# The page is not present (asm/trap_pf.h). IL is set, and a fault of translation, level 0 (Arm ARM).
_PAGE_FAULTS = halves(x86_64=0, arm64=ARM64.page_fault_number << 26 | 1 << 25 | 0x04)
_WRITES = halves(x86_64=1 << 1, arm64=1 << 6)


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
    isa = architecture(arch)
    code = _PAGE_FAULTS[arch] | (_WRITES[arch] if writes else 0)
    access = "write" if writes else "read"
    return Trap(TrapKind.PAGE_FAULT, isa.page_fault_number, code, error.address, access)
