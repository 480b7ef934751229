"""A small allocator for memory that the host hands to the guest."""

from __future__ import annotations

from bisect import bisect_left

from kprobesim.errors import UsageError

__all__ = ["Heap"]

_ALIGN = 16


class Heap:
    """Hands out ranges of [``start``, ``end``), always the lowest that fits.

    So an address depends on what is allocated now, and not on what has been and was freed: a free
    range grows together with its neighbours.
    """

    def __init__(self, start: int, end: int) -> None:
        self._starts = [start]  # of the free ranges, in order
        self._ends = [end]
        self._sizes: dict[int, int] = {}

    def alloc(self, size: int, align: int = _ALIGN) -> int:
        """The address of ``size`` bytes, whatever their content; raises :class:`UsageError`."""
        if size <= 0 or align <= 0 or align & (align - 1):
            raise UsageError(f"cannot allocate {size} bytes aligned to {align}")
        size = (size + _ALIGN - 1) & -_ALIGN
        at, address = self._find(size, align)
        if at < 0:
            raise UsageError(
                f"cannot allocate {size} bytes: the guest's heap is used up; "
                "load the kernel with more memory"
            )
        start, end = self._starts.pop(at), self._ends.pop(at)
        for low, high in ((address + size, end), (start, address)):
            if low < high:
                self._starts.insert(at, low)
                self._ends.insert(at, high)
        self._sizes[address] = size
        return address

    def _find(self, size: int, align: int) -> tuple[int, int]:
        """The place of a free range, and the address in it; -1: none is large enough."""
        for at, start in enumerate(self._starts):
            address = (start + align - 1) & -align
            if address + size <= self._ends[at]:
                return at, address
        return -1, 0

    def size_of(self, address: int) -> int:
        """The size of the allocation at ``address``; raises :class:`UsageError`."""
        size = self._sizes.get(address)
        if size is None:
            raise UsageError(f"{address:#x} was not allocated here, or has been freed")
        return size

    def block_at(self, address: int) -> tuple[int, int] | None:
        """Address and size of the allocation that ``address`` is in, if it is in one."""
        for start, size in self._sizes.items():
            if start <= address < start + size:
                return start, size
        return None

    def free(self, address: int) -> None:
        """Give the allocation at ``address`` back."""
        end = address + self.size_of(address)
        del self._sizes[address]
        starts, ends = self._starts, self._ends
        at = bisect_left(starts, address)
        if at < len(starts) and starts[at] == end:
            end = ends.pop(at)
            del starts[at]
        if at and ends[at - 1] == address:
            ends[at - 1] = end
        else:
            starts.insert(at, address)
            ends.insert(at, end)

    def save(self) -> tuple[list[int], list[int], dict[int, int]]:
        """What is allocated, for :meth:`restore`."""
        return self._starts[:], self._ends[:], self._sizes.copy()

    def restore(self, kept: tuple[list[int], list[int], dict[int, int]]) -> None:
        """The memory is as it was when :meth:`save` gave ``kept``."""
        starts, ends, sizes = kept
        self._starts, self._ends, self._sizes = starts[:], ends[:], sizes.copy()

    def fits(self, size: int) -> bool:
        """Whether :meth:`alloc` would find room."""
        return self._find((size + _ALIGN - 1) & -_ALIGN, _ALIGN)[0] >= 0

    def __contains__(self, address: int) -> bool:
        """Whether ``address`` is in an allocation that starts there."""
        return address in self._sizes
