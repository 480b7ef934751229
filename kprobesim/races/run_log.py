"""``RunLog``: every load and store of a run, whose each was and how far its CPU had come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from kprobesim.machine.unicorn.access_log import RECORD, columns, marks, read_records, unpack_record

__all__ = ["GRAIN", "LaneAccess", "RunLog"]

GRAIN = 3
"""The binary logarithm of how many bytes are one place."""
_BYTES = 1 << GRAIN
_LOW = _BYTES - 1
_ENDS_BEHIND = bytes(end > _BYTES for end in range(256))

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
        for cpu, before, first, end in self.parts:
            data = memoryview(self.records)[first * RECORD : end * RECORD]
            for access in read_records(data):
                yield LaneAccess(cpu, before + access.number - 1, *access[1:])

    @cached_property
    def parts(self) -> list[tuple[int, int, int, int]]:
        """Each run of one CPU: which, its instructions before, its first access, that behind."""
        ends = [first for first, _, _ in self.marks[1:]] + [len(self)]
        return [
            (cpu, before, first, end)
            for (first, cpu, before), end in zip(self.marks, ends, strict=True)
            if end > first
        ]

    @cached_property
    def columns(self) -> tuple[list[int], list[int], bytes, bytes]:
        """Of all accesses: the numbers, physical addresses, sizes, and which are stores."""
        return columns(self.records)

    @cached_property
    def pcs(self) -> set[int]:
        """The addresses of all instructions that have accessed anything."""
        return {*memoryview(self.records).cast("Q")[1 :: RECORD // 8].tolist()}

    @cached_property
    def barriers(self) -> list[tuple[int, int, int]]:
        """The barriers that were noted: number in the log, whose, and the instruction's address."""
        found = marks(self.records)
        parts = iter(self.parts)
        cpu, _, _, end = next(parts, (0, 0, 0, 0))
        told = []
        for at in found:
            while at >= end:
                cpu, _, _, end = next(parts)
            told.append((at, cpu, unpack_record(self.records, at)[0]))
        return told

    @cached_property
    def words(self) -> list[int]:
        """The place of each access: its physical address, divided by 8."""
        return [address >> GRAIN for address in self.columns[1]]

    @cached_property
    def _is_long(self) -> bytes:
        _, addresses, sizes, _ = self.columns
        lows = bytes(map(_LOW.__and__, addresses))
        # Each byte of the sum is where an access ends in its place: all at once, in one number.
        ends = int.from_bytes(lows, "little") + int.from_bytes(sizes, "little")
        return ends.to_bytes(len(lows), "little").translate(_ENDS_BEHIND)

    def long(self, first: int, end: int) -> Iterator[tuple[int, range]]:
        """The accesses from ``first`` to ``end`` on two places, or on more, each with those."""
        _, addresses, sizes, _ = self.columns
        at = self._is_long.find(1, first, end)
        while at >= 0:
            address, size = addresses[at], sizes[at]
            yield at, range(address >> GRAIN, (address + size - 1 >> GRAIN) + 1)
            at = self._is_long.find(1, at + 1, end)
