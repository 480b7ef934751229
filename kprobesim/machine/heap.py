"""A small allocator for memory that the host hands to the guest."""

from __future__ import annotations

from collections import defaultdict

from kprobesim.errors import UsageError

__all__ = ["Heap"]

_ALIGN = 16


class Heap:
    """Hands out zeroed-by-the-caller ranges of [``start``, ``end``), lowest address first.

    Freed ranges of the same size are used again, most recently freed first, so the same calls give
    the same addresses.
    """

    def __init__(self, start: int, end: int) -> None:
        self._next = start
        self._end = end
        self._sizes: dict[int, int] = {}
        self._free: defaultdict[int, list[int]] = defaultdict(list)

    def alloc(self, size: int, align: int = _ALIGN) -> int:
        """The address of ``size`` fresh bytes."""
        if size <= 0 or align <= 0 or align & (align - 1):
            raise UsageError(f"cannot allocate {size} bytes aligned to {align}")
        size = (size + _ALIGN - 1) & -_ALIGN
        free = self._free[size]
        for place in range(len(free) - 1, -1, -1):
            if free[place] % align == 0:
                address = free.pop(place)
                break
        else:
            address = (self._next + align - 1) & -align
            if address + size > self._end:
                raise UsageError(
                    f"cannot allocate {size} bytes: the guest's heap is used up; "
                    "load the kernel with more memory"
                )
            self._next = address + size
        self._sizes[address] = size
        return address

    def size_of(self, address: int) -> int:
        """The size of the allocation at ``address``."""
        size = self._sizes.get(address)
        if size is None:
            raise UsageError(f"{address:#x} was not allocated here, or has been freed")
        return size

    def free(self, address: int) -> None:
        """Give the allocation at ``address`` back."""
        self._free[self.size_of(address)].append(address)
        del self._sizes[address]

    def fits(self, size: int) -> bool:
        """Whether :meth:`alloc` would find room."""
        size = (size + _ALIGN - 1) & -_ALIGN
        return bool(self._free.get(size)) or self._next + size <= self._end

    def __contains__(self, address: int) -> bool:
        """Whether ``address`` is in an allocation that starts there."""
        return address in self._sizes
