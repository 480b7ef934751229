"""``KernelFilterFacts``: what filters ask of a kernel, told by its image."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.image.config import read_config

__all__ = ["KernelFilterFacts"]

_SYMBOL_SPACE = 1 << 32


class KernelFilterFacts:
    """One kernel, on a machine of so many CPUs. It is made once, as it reads the configuration.

    Attributes:
        config: Its configuration; ``None``: nobody tells.
        version: Its version.
        cpu_bits: How many CPUs a list of them may name (``nr_cpumask_bits``).
    """

    def __init__(self, image: KernelImage, cpus: int) -> None:
        self.version = image.version
        self._symbols = image.symbols
        self.config = read_config(image)
        config = self.config or {}
        small = config.get("CONFIG_CPUMASK_OFFSTACK", "y") == "y"
        self.cpu_bits = cpus if small else int(config.get("CONFIG_NR_CPUS", cpus))

    def function(self, place: str | int) -> tuple[int, int] | None:
        """Where the function of that name, or at that address, starts and ends."""
        if isinstance(place, str):
            symbol = self._symbols.get(place)
            if symbol is None:
                return None
            place = symbol.address
        found = self._symbols.at(place)
        if found is None or found.size is None:
            return None
        start = found.symbol.address
        return start, start + found.size
