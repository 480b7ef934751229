"""``DataPlaces``: what lies at an address that CPUs share, by name."""

from __future__ import annotations

from kprobesim.image import SymbolTable
from kprobesim.machine.heap import Heap
from kprobesim.machine.memory import GuestMemory
from kprobesim.races.failures.typed_places import TypedPlaces

__all__ = ["DataPlaces"]


class DataPlaces:
    """Those of one kernel that is called.

    Attributes:
        typed: The objects whose types are known; ``None``: there are no types.
    """

    def __init__(self, memory: GuestMemory, symbols: SymbolTable, heap: Heap) -> None:
        """Look at nothing yet.

        Args:
            memory: The guest's.
            symbols: The kernel's.
            heap: What the host gives memory from.
        """
        self._memory, self._symbols, self._heap = memory, symbols, heap
        self.typed: TypedPlaces | None = None

    def virtual(self, physical: int) -> int | None:
        """Where a physical address is mapped; of several, where a symbol is."""
        memory, found = self._memory, None
        offset = physical - memory.base
        for region in memory.regions:
            if region.offset <= offset < region.offset + region.end - region.start:
                address = region.start + offset - region.offset
                if self._symbols.at(address) is not None:
                    return address
                found = address
        return found

    def name(self, address: int, *, whole: bool = False) -> str:
        """Its member's name, where that is known, and where that lies.

        That is ``symbol+0x8/0x40``, or what it was allocated as, or the region that it is in.
        """
        typed = None if self.typed is None else self.typed.name(address, whole=whole)
        return self._place(address) if typed is None else f"{typed} at {self._place(address)}"

    def _place(self, address: int) -> str:
        symbol = self._symbols.at(address)
        if symbol is not None:
            return str(symbol)
        block = self._heap.block_at(address)
        if block is not None:
            start, size = block
            return f"{address:#x} (+{address - start:#x}/{size:#x} of what was allocated)"
        region = self._memory.region(address)
        if region is None:
            return f"{address:#x}"
        return f"{address:#x} ({region.name}+{address - region.start:#x})"

    def physical_name(self, physical: int) -> str:
        """The name of what is at a physical address."""
        address = self.virtual(physical)
        return f"{physical:#x} (physical)" if address is None else self.name(address)
