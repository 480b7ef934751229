"""``RunLog``: every load and store of a run, whose each was and how far its CPU had come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from kprobesim.machine.unicorn.access_log import RECORD, columns, read_records

__all__ = ["GRAIN", "LaneAccess", "RunLog"]

GRAIN = 3
"""The binary logarithm of how many bytes are one place."""
_BYTES = 1 << GRAIN
_INSIDE = _BYTES - 1

Mark = tuple[int, int, int]
"""From which access on, which CPU's, and how many instructions it had executed before."""


class LaneAccess(NamedTuple):
    """A load or a store.

    Attributes:
        cpu: Whose.
        step: The instructions of that CPU's lane before this one.
        pc: The address of the instruction.
        physical: The physical address.
        value: What is stored; 0 for a load.
        size: Bytes.
        is_store: Which of both it is.
    """

    cpu: int
    step: int
    pc: int
    physical: int
    value: int
    size: int
    is_store: bool


class RunLog:
    """What was noted of one run.

    Attributes:
        records: The accesses, as they were noted.
        marks: Whose they are.
    """

    def __init__(self, records: bytes, marks: Sequence[Mark]) -> None:
        """Keep both."""
        self.records = records
        self.marks = [*marks]

    def __len__(self) -> int:
        return len(self.records) // RECORD

    def __iter__(self) -> Iterator[LaneAccess]:
        for cpu, before, first, end in self.spans:
            data = memoryview(self.records)[first * RECORD : end * RECORD]
            for access in read_records(data):
                yield LaneAccess(cpu, before + access.number - 1, *access[1:])

    @cached_property
    def spans(self) -> list[tuple[int, int, int, int]]:
        """What one CPU did at a stretch: which, its instructions before, first access and end."""
        ends = [first for first, _, _ in self.marks[1:]] + [len(self)]
        return [
            (cpu, before, first, end)
            for (first, cpu, before), end in zip(self.marks, ends, strict=True)
            if end > first
        ]

    @cached_property
    def _columns(self) -> tuple[list[int], list[int], list[int], list[bool]]:
        return columns(self.records)

    @property
    def numbers(self) -> list[int]:
        """Of each access, its instruction's number within what its CPU did at a stretch, from 1."""
        return self._columns[0]

    @property
    def stores(self) -> list[bool]:
        """Of each access, whether it is a store."""
        return self._columns[3]

    @cached_property
    def grains(self) -> list[int]:
        """Of each access, the place of 8 bytes that it begins in: physical addresses by 8."""
        return [address >> GRAIN for address in self._columns[1]]

    @cached_property
    def straddling(self) -> list[tuple[int, int, range]]:
        """The accesses that use more than one place: number, CPU, and the places; in order."""
        _, addresses, sizes, _ = self._columns
        both = [
            at
            for at, (address, size) in enumerate(zip(addresses, sizes, strict=True))
            if (address & _INSIDE) + size > _BYTES
        ]
        found = []
        for at in both:
            cpu = next(cpu for cpu, _, first, end in self.spans if first <= at < end)
            last = addresses[at] + sizes[at] - 1 >> GRAIN
            found.append((at, cpu, range(self.grains[at], last + 1)))
        return found
