"""Memory of a booted guest, from its own allocators: they are functions that are called.

Guarded memory is vmalloc()'s, which leaves a page behind each area that is not mapped
(mm/vmalloc.c); but ``virt_to_page()`` and its kind know nothing of such addresses. Arguments of
calls lie in kmalloc()'s therefore, if nobody asks for a guard, with some zeroes behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kprobesim.errors import GuestError, SymbolError, UsageError
from kprobesim.image import KernelImage
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.guard_pages import count_of
from kprobesim.machine.memory import HostAccess
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap
from kprobesim.sizes import PAGE, page_up

__all__ = ["GuestAllocator", "function_address"]

_KMALLOC = ("__kmalloc_noprof", "__kmalloc")
_VMALLOC = ("vmalloc_noprof", "vmalloc")
_FREE = "kvfree"
_ALLOC_CODE = "alloc_insn_page"  # kernel/kprobes.c and arch/*/kernel/kprobes
_FREE_CODE = ("free_insn_page", "execmem_free", "module_memfree")
_GFP_KERNEL = 0xCC0  # include/linux/gfp_types.h, the same from 5.10 on
_LARGEST_KMALLOC = 2 << 20
_ZEROES = bytes(16)  # behind an argument


class _Calls(Protocol):
    @property
    def is_free(self) -> bool: ...

    def call(self, target: int, arguments: Sequence[int]) -> int: ...


@dataclass(frozen=True)
class _Lent:
    number: int
    address: int
    size: int
    guarded: bool

    def __str__(self) -> str:
        return f"argument {self.number} of {count_of(self.size)}"


class GuestAllocator:
    """Allocates by ``calls`` in ``memory``. It is a :class:`kprobesim.kernel.arguments.Lender`."""

    def __init__(self, calls: _Calls, image: KernelImage, memory: HostAccess) -> None:
        self._calls = calls
        self._image = image
        self._memory = memory
        self._lent: list[_Lent] = []
        self.code_pages: set[int] = set()
        """Addresses that :meth:`alloc_code` gave."""
        self._guarded: dict[int, int] = {}
        """What :meth:`alloc_guarded` gave, and the start of its page."""

    def alloc(self, size: int) -> int:
        """The address of ``size`` bytes of the guest's memory; their content is not defined."""
        if size <= 0:
            raise UsageError(f"cannot allocate {size} bytes")
        if size <= _LARGEST_KMALLOC:
            return self._allocated(size, self._call(_KMALLOC, size, _GFP_KERNEL))
        return self._allocated(size, self._call(_VMALLOC, size))

    def alloc_guarded(self, size: int) -> int:
        """As :meth:`alloc`; they end where a page ends, and the next page is not mapped."""
        if size <= 0:
            raise UsageError(f"cannot allocate {size} bytes")
        whole = page_up(size)
        start = self._allocated(size, self._call(_VMALLOC, whole))
        self._guarded[start + whole - size] = start
        return start + whole - size

    def _allocated(self, size: int, address: int) -> int:
        if not address:
            raise UsageError(
                f"the guest has no {size} bytes of memory to give: boot it with more (memory=)"
            )
        return address

    def alloc_code(self, size: int) -> int:
        """The address of a page that the guest may execute and only the host may write.

        It is what the guest's own kprobes take for their slots.
        """
        if not 0 < size <= PAGE:
            raise UsageError(
                f"cannot allocate {size} bytes of executable memory: a booted guest gives pages of "
                f"{PAGE} bytes, one at a time"
            )
        address = self._call((_ALLOC_CODE,))
        if not address:
            raise UsageError("the guest has no executable memory to give")
        self.code_pages.add(address)
        return address

    def free(self, address: int) -> None:
        """Give memory from :meth:`alloc` and its kind back."""
        if address in self.code_pages:
            self._call(_FREE_CODE, address)
            self.code_pages.discard(address)
        else:
            self._call((_FREE,), self._guarded.pop(address, address))

    def lend(self, number: int, data: bytes | bytearray, guard: bool) -> int:
        """The address of a copy of ``data``, for the time of a call."""
        size = len(data)
        if guard:
            address = self.alloc_guarded(max(1, size))
            self._memory.write(address, bytes(data))
        else:
            address = self.alloc(size + len(_ZEROES))
            self._memory.write(address, bytes(data) + _ZEROES)
        self._lent.append(_Lent(number, address, size, guard))
        return address

    def take_back(self) -> bytes:
        """What lies where :meth:`lend` was last. It is freed, unless the guest may still use it.

        Raises :class:`GuestError` if the guest has written behind it.
        """
        lent = self._lent.pop()
        data = self._memory.read(lent.address, lent.size)
        behind = _ZEROES
        if not lent.guarded:
            behind = self._memory.read(lent.address + lent.size, len(_ZEROES))
        if self._calls.is_free:
            self.free(lent.address)
        if behind != _ZEROES:
            count = len(behind.rstrip(b"\0"))
            raise GuestError(
                f"{lent} was overrun by at least {count_of(count)}: the guest's memory behind it "
                "may be damaged; with guard=True the call stops there"
            )
        return data

    def explain(self, trap: Trap, _regs: PtRegs) -> str:
        """By how much a fault is behind an argument that is guarded; "": it is of no such one."""
        for lent in self._lent:
            behind = (trap.address or 0) - lent.address - lent.size
            if lent.guarded and 0 <= behind < PAGE:
                return f"{lent} is overrun by {count_of(behind + 1)}"
        return ""

    def save(self) -> tuple[set[int], dict[int, int]]:
        """What it has given, for :meth:`restore`."""
        return self.code_pages.copy(), self._guarded.copy()

    def restore(self, kept: tuple[set[int], dict[int, int]] | None) -> None:
        """The guest is as it was when :meth:`save` gave ``kept``; ``None``: before the first."""
        pages, guarded = kept or (set(), {})
        self.code_pages, self._guarded = pages.copy(), guarded.copy()

    def _call(self, names: Sequence[str], *arguments: int) -> int:
        return self._calls.call(function_address(self._image, *names), arguments)


def function_address(image: KernelImage, *names: str) -> int:
    """Of the first of these functions that the kernel has; raises :class:`SymbolError`."""
    for name in names:
        found = image.symbols.candidates(name)
        if found:
            return found[0].address
    raise SymbolError(names[-1], f"this kernel has no {names[-1]}(), which a call needs")
