"""``FilterFacts``: what only the kernel itself knows of what a filter names."""

from __future__ import annotations

from typing import Protocol

__all__ = ["FilterFacts"]


class FilterFacts(Protocol):
    """A kernel, as filters ask it."""

    @property
    def version(self) -> tuple[int, ...]:
        """Its version."""

    @property
    def cpu_bits(self) -> int:
        """How many CPUs a list of them may name (``nr_cpumask_bits``)."""

    def function(self, place: str | int) -> tuple[int, int] | None:
        """Where the function of that name, or at that address, starts and ends."""
