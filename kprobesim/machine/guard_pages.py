"""Memory that ends where a page ends, with nothing mapped behind it.

So whoever writes or reads one byte too many faults, and :meth:`GuardedArea.explain` tells by how
much. It all lies in the direct map, as what a kernel allocates does: ``virt_to_page()`` and its
kind compute with such addresses. The bytes before are poison (include/linux/poison.h).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.machine.heap import Heap
from kprobesim.machine.memory import GuestMemory, Prot, Region
from kprobesim.sizes import PAGE, page_up

__all__ = ["POISON_FREE", "GuardedArea", "Lent", "count_of"]

POISON_FREE = b"\x6b"
_POISON_PAGE = POISON_FREE * PAGE
# Places for arguments by size in pages, and how many: a call has few, but calls are nested. Each
# has a page before it that is never mapped.
_PLACES = ((1, 128), (4, 32), (16, 16))
_PLACES_BYTES = PAGE + sum((pages + 1) * count for pages, count in _PLACES) * PAGE


# Number of the argument, address, size, whether it ends at its page's end; None: in no place.
_Lent = tuple[int, int, int, bool, "_Places | None"]
Lent = tuple[int, int, int]
"""Of an argument: its number, address and size."""


class GuardedArea:
    """A part of the direct map in which nothing is mapped but what has been asked for.

    What :meth:`lend` gives has an address that depends on its size and on what is lent already, on
    nothing that has been given back.
    """

    def __init__(
        self, memory: GuestMemory, start: int, size: int, forget: Callable[[], None], heap: Heap
    ) -> None:
        """Use ``size`` bytes at ``start``, which is where the last ones of RAM belong.

        ``forget`` drops what the CPU has cached of the page tables. ``heap`` is of the direct map,
        too, and has what is too large for us.
        """
        offset = memory.size - size
        self._memory = memory
        self._to_offset = offset - start
        self._forget = forget
        self._ordinary = heap
        self._places: list[_Places] = []
        at = start + PAGE
        for pages, count in _PLACES:
            self._places.append(_Places(memory, at, offset + at - start, pages, count))
            at += (pages + 1) * count * PAGE
        self._heap = Heap(at, start + size)
        self._regions: dict[int, tuple[Region, int]] = {}
        self._lent: list[_Lent] = []
        self._occupants: list[Callable[[], Iterable[Lent]]] = []

    @staticmethod
    def least_bytes() -> int:
        """How many bytes of addresses it takes at least; only what is used takes memory."""
        return _PLACES_BYTES + 2 * PAGE

    # -- for the time of a call --------------------------------------------------------------------

    def lend(self, number: int, data: bytes | bytearray, guard: bool) -> int:
        """Copy ``data``, an argument's, to memory that ends with it, and return the address.

        Without ``guard`` it starts with ``data``, and zeroes follow up to the end of its last page.
        If there is no such room, it comes from the heap; raises :class:`UsageError` if there is
        none, either.
        """
        size = len(data)
        for places in self._places:
            if size <= places.bytes and places.used < places.count:
                address = places.put(data, size, guard)
                self._lent.append((number, address, size, guard, places))
                return address
        address, guard = self._make_room(max(1, size) if guard else page_up(size + 1), guard)
        offset = address + self._to_offset
        self._memory.ram[offset : offset + size] = data
        self._lent.append((number, address, size, guard, None))
        return address

    def take_back(self) -> bytes:
        """What lies where :meth:`lend` was last; nobody may use that any more."""
        _, address, size, guarded, places = self._lent.pop()
        offset = address + self._to_offset
        data = self._memory.ram[offset : offset + size]
        if places is not None:
            places.used -= 1
            if places.bytes == PAGE:  # most are so small
                end = places.mapped[places.used][1]
                self._memory.ram[end : end + PAGE] = _POISON_PAGE
            else:
                places.poison(size if guarded else places.bytes)
        elif address in self:
            self.free(address)
        else:
            self._memory.ram[offset : offset + size] = POISON_FREE * size
            self._ordinary.free(address)
        return data

    def occupy(self, count: int, lent: Callable[[], Iterable[Lent]]) -> list[tuple[int, int]]:
        """Take the places of ``count`` arguments of at most a page each, for who fills them itself.

        Args:
            count: How many; not more than there are.
            lent: Tells what lies in them.

        Returns:
            Of each place the address and the offset in RAM. It is full of :data:`POISON_FREE`.
        """
        places = self._places[0]
        while len(places.mapped) < places.used + count:
            places.map_next()
        taken = places.mapped[places.used : places.used + count]
        places.used += count
        self._occupants.append(lent)
        return taken

    def leave(self, count: int) -> None:
        """Give back what :meth:`occupy` gave last: it is poison again."""
        self._places[0].used -= count
        self._occupants.pop()

    def _make_room(self, size: int, guard: bool) -> tuple[int, bool]:
        try:
            return self.alloc(size), guard
        except UsageError:
            return self._ordinary.alloc(size), False

    # -- for longer --------------------------------------------------------------------------------

    def alloc(self, size: int) -> int:
        """The address of ``size`` zeroed bytes; raises :class:`UsageError`."""
        if size <= 0:
            raise UsageError(f"cannot allocate {size} bytes")
        used, memory = page_up(size), self._memory
        start = self._heap.alloc(used + PAGE, PAGE)
        offset = start + self._to_offset
        memory.ram[offset : offset + used] = POISON_FREE * (used - size) + bytes(size)
        region = memory.map(start, memory.base + offset, used, Prot.RW, "guarded memory")
        address = start + used - size
        self._regions[address] = region, size
        return address

    def free(self, address: int) -> None:
        """Give it back: nothing is mapped there any more."""
        region, _ = self._regions.pop(address)
        self._memory.withdraw(region)
        self._forget()
        self._heap.free(region.start)

    def __contains__(self, address: int) -> bool:
        return address in self._regions

    # -- faults ------------------------------------------------------------------------------------

    def explain(self, address: int) -> str:
        """By how much an access at ``address`` is out of bounds, in words; "": of nothing here."""
        owned = [
            (f"argument {number}", start, size)
            for number, start, size, guarded, _ in self._lent
            if guarded
        ]
        owned += [
            (f"argument {number}", start, size)
            for lent in self._occupants
            for number, start, size in lent()
        ]
        owned += [
            (f"the allocation at {start:#x}", start, size)
            for start, (_, size) in self._regions.items()
        ]
        for name, start, size in owned:
            behind, before = address - start - size, start - address
            if 0 <= behind < PAGE:
                return f"{name} of {count_of(size)} is overrun by {count_of(behind + 1)}"
            if 0 < before <= PAGE:
                return f"{name} of {count_of(size)} is underrun by {count_of(before)}"
        return ""

    # -- saved states ------------------------------------------------------------------------------

    def save(self) -> Any:
        """What is allocated and mapped, for :meth:`restore`."""
        mapped = [len(places.mapped) for places in self._places]
        return mapped, self._heap.save(), self._regions.copy()

    def restore(self, kept: Any) -> None:
        """Memory, page tables and regions are as they were when :meth:`save` gave ``kept``."""
        mapped, heap, regions = kept
        for places, count in zip(self._places, mapped, strict=True):
            del places.mapped[count:]
        self._heap.restore(heap)
        self._regions = regions.copy()


class _Places:
    """Places of so many pages each, used as a stack; a page is mapped when it is first used."""

    def __init__(self, memory: GuestMemory, start: int, offset: int, pages: int, count: int):
        self.bytes = pages * PAGE
        self.count = count
        self.used = 0
        self.mapped: list[tuple[int, int]] = []
        """Of each place: its address and its RAM offset."""
        self._memory = memory
        self._start, self._offset = start, offset
        self._free = POISON_FREE * self.bytes

    def put(self, data: bytes | bytearray, size: int, guard: bool) -> int:
        """Copy ``data`` to the next place's end, or start without ``guard``: the address."""
        number = self.used
        if number == len(self.mapped):
            self.map_next()
        self.used = number + 1
        start, offset = self.mapped[number]
        whole = self.bytes
        ram = self._memory.ram
        if guard:  # the bytes before are poison already
            ram[offset + whole - size : offset + whole] = data
            return start + whole - size
        ram[offset : offset + whole] = data + bytes(whole - size)
        return start

    def poison(self, size: int) -> None:
        """Nobody uses the first free place any more, at whose end ``size`` bytes were."""
        end = self.mapped[self.used][1] + self.bytes
        size = min(page_up(size) + PAGE, self.bytes)
        self._memory.ram[end - size : end] = self._free[:size]

    def map_next(self) -> None:
        """Map one more of them."""
        memory, at = self._memory, len(self.mapped) * (self.bytes + PAGE)
        start, offset = self._start + at, self._offset + at
        memory.ram[offset : offset + self.bytes] = self._free
        memory.map(start, memory.base + offset, self.bytes, Prot.RW, "argument of a call")
        self.mapped.append((start, offset))


def count_of(count: int) -> str:
    """So many bytes, in words."""
    return f"{count} byte{'' if count == 1 else 's'}"
