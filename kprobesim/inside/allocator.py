"""Memory of a booted guest, from its own allocators: they are functions that are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kprobesim.errors import SymbolError, UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.memory import PAGE

__all__ = ["GuestAllocator", "function_address"]

_KMALLOC = ("__kmalloc_noprof", "__kmalloc")
_VMALLOC = ("vmalloc_noprof", "vmalloc")
_FREE = "kvfree"
_ALLOC_CODE = "alloc_insn_page"  # kernel/kprobes.c and arch/*/kernel/kprobes
_FREE_CODE = ("free_insn_page", "execmem_free", "module_memfree")
_GFP_KERNEL = 0xCC0  # include/linux/gfp_types.h, the same from 5.10 on
_LARGEST_KMALLOC = 2 << 20


class _Calls(Protocol):
    def call(self, target: int, arguments: Sequence[int]) -> int: ...


class GuestAllocator:
    """Allocates by ``calls``."""

    def __init__(self, calls: _Calls, image: KernelImage) -> None:
        self._calls = calls
        self._image = image
        self.code_pages: set[int] = set()
        """Addresses that :meth:`alloc_code` gave."""

    def alloc(self, size: int) -> int:
        """The address of ``size`` bytes of the guest's memory; their content is not defined."""
        if size <= 0:
            raise UsageError(f"cannot allocate {size} bytes")
        if size <= _LARGEST_KMALLOC:
            address = self._call(_KMALLOC, size, _GFP_KERNEL)
        else:
            address = self._call(_VMALLOC, size)
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
        """Give memory from :meth:`alloc` or :meth:`alloc_code` back."""
        if address in self.code_pages:
            self._call(_FREE_CODE, address)
            self.code_pages.discard(address)
        else:
            self._call((_FREE,), address)

    def _call(self, names: Sequence[str], *arguments: int) -> int:
        return self._calls.call(function_address(self._image, *names), arguments)


def function_address(image: KernelImage, *names: str) -> int:
    """Of the first of these functions that the kernel has; raises :class:`SymbolError`."""
    for name in names:
        found = image.symbols.candidates(name)
        if found:
            return found[0].address
    raise SymbolError(names[-1], f"this kernel has no {names[-1]}(), which a call needs")
