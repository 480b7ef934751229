"""``BootedPlaces``: what lies at an address of a booted kernel, by name."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.machine.memory import HostAccess
from kprobesim.races.failures.typed_places import TypedPlaces
from kprobesim.sizes import MASK64

__all__ = ["BootedPlaces"]

_LARGEST = 1 << 20  # bytes of a variable
_AREA = ("__per_cpu_start", "__per_cpu_end")


class BootedPlaces:
    """Those of one guest, as it is now."""

    def __init__(
        self,
        image: KernelImage,
        memory: HostAccess,
        per_cpu: Sequence[int],
        anywhere: int | None,
        typed: TypedPlaces,
    ) -> None:
        """Look at nothing yet.

        Args:
            image: The kernel.
            memory: The guest's memory.
            per_cpu: By CPU, what is added to the address of a per-CPU variable.
            anywhere: An address in the direct map of all memory; ``None``: none is known.
            typed: The objects whose types are known.
        """
        self._image, self._memory, self._per_cpu = image, memory, per_cpu
        self._typed = typed
        self._direct = None if anywhere is None else anywhere - self._physical(anywhere)
        found = [image.symbols.candidates(name) for name in _AREA]
        start, end = (each[0].address if each else 0 for each in found)
        self._area = range(start, end)

    def _physical(self, address: int) -> int:
        return self._memory.physical(address, 1)[0][0]

    def virtual(self, physical: int) -> int | None:
        """Where a physical address is mapped: in the kernel's image, or in the direct map."""
        for start, end in ((each.vaddr, each.end) for each in self._image.segments):
            try:
                address = physical - self._physical(start) + start
                if start <= address < end and self._physical(address) == physical:
                    return address
            except GuestMemoryError:
                continue
        return None if self._direct is None else physical + self._direct

    def name(self, address: int, *, whole: bool = False) -> str:
        """Its member's name, where that is known, and where that lies.

        That is ``symbol+0x8/0x40``, the same of a CPU's own, or the number.
        """
        typed, place = self._typed.name(address, whole=whole), self._place(address)
        return place if typed is None else f"{typed} at {place}"

    def _place(self, address: int) -> str:
        symbols = self._image.symbols
        for number, base in enumerate(self._per_cpu):
            variable = address - base & MASK64
            if variable in self._area:
                found = symbols.at(variable)
                return (
                    f"{variable:#x} of CPU {number}"
                    if found is None
                    else f"{found} of CPU {number}"
                )
        found = symbols.at(address)
        if found is None or found.offset > _LARGEST:  # of kernels whose data have no symbols
            return hex(address)
        return str(found)

    def physical_name(self, physical: int) -> str:
        """The name of what is at a physical address."""
        address = self.virtual(physical)
        return f"{physical:#x} (physical)" if address is None else self.name(address)
