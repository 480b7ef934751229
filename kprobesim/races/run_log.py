"""``RunLog``: every load and store of a run, whose each was and how far its CPU had come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from kprobesim.machine.unicorn.access_log import RECORD, columns, read_records

__all__ = ["LaneAccess", "RunLog"]

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
        for cpu, before, first, end in self._parts():
            data = memoryview(self.records)[first * RECORD : end * RECORD]
            for access in read_records(data):
                yield LaneAccess(cpu, before + access.number - 1, *access[1:])

    def _parts(self) -> Iterator[tuple[int, int, int, int]]:
        ends = [first for first, _, _ in self.marks[1:]] + [len(self)]
        for (first, cpu, before), end in zip(self.marks, ends, strict=True):
            if end > first:
                yield cpu, before, first, end

    @cached_property
    def parts(self) -> list[tuple[int, int, list[int], list[int], list[int], list[bool]]]:
        """For each run of one CPU: which, its instructions before, and the columns."""
        numbers, places, sizes, stores = columns(self.records)
        return [
            (cpu, before, numbers[a:b], places[a:b], sizes[a:b], stores[a:b])
            for cpu, before, a, b in self._parts()
        ]
