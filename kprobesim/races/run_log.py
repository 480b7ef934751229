"""``RunLog``: every load and store of a run, whose each was and how far its CPU had come."""

from __future__ import annotations

import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from itertools import compress, groupby
from operator import itemgetter
from typing import NamedTuple

from kprobesim.machine.unicorn.access_log import (
    PLACE_AT,
    RECORD,
    columns,
    marks,
    read_records,
    unpack_record,
)

__all__ = ["GRAIN", "LaneAccess", "RunLog", "places_of"]

GRAIN = 3
"""The binary logarithm of how many bytes are one place."""
_BYTES = 1 << GRAIN
_LOW = bytes(low % _BYTES for low in range(256))
_ENDS_BEHIND = bytes(end > _BYTES for end in range(256))

Contested = tuple[int, int, int, int, int, int, int, bool]
"""Its number in the log, the CPU, and the instructions of that before; pc, physical address, value,
size, and whether it is a store."""
Mark = tuple[int, int, int]
"""From which access on, which CPU's, and how many instructions it had executed before."""


def places_of(physical: int, size: int) -> range:
    """The places in which these bytes are: addresses divided by 8."""
    return range(physical >> GRAIN, (physical + size - 1 >> GRAIN) + 1)


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

    def first_of(self, number: int) -> int:
        """The first access of the instruction that has made access ``number``."""
        numbers = self.columns[0]
        begin = next(first for _, _, first, end in self.parts if first <= number < end)
        while number > begin and numbers[number - 1] == numbers[number]:
            number -= 1
        return number

    @cached_property
    def columns(self) -> tuple[list[int], list[int], bytes, bytes]:
        """Of all accesses: the numbers, physical addresses, sizes, and which are stores."""
        return columns(self.records)

    @property
    def pcs(self) -> list[int]:
        """The address of each access's instruction."""
        return memoryview(self.records).cast("Q")[1 :: RECORD // 8].tolist()

    @property
    def steps(self) -> list[int]:
        """The instructions of its CPU before each access."""
        numbers, found = self.columns[0], list[int]()
        for _cpu, before, first, end in self.parts:
            found += map((before - 1).__add__, numbers[first:end])
        return found

    def checksum(self) -> int:
        """Of all accesses and whose they are, wherever the host has cut a run in two."""
        words = array("q", self.records)
        words[:: RECORD // 8] = array("q", self.steps)  # -1: what came before all instructions
        whose = [next(parts)[::2] for _, parts in groupby(self.parts, key=itemgetter(0))]
        return zlib.crc32(repr(whose).encode(), zlib.crc32(words))

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
    def _is_long(self) -> bytes:
        sizes, lows = self.columns[2], self.records[PLACE_AT::RECORD].translate(_LOW)
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

    @cached_property
    def _addresses(self) -> dict[int, tuple[set[int], set[int]]]:
        """The addresses that each CPU has used, and of those the ones that it has stored to."""
        _, addresses, _, stores = self.columns
        found: dict[int, tuple[set[int], set[int]]] = defaultdict(lambda: (set(), set()))
        for cpu, _before, first, end in self.parts:
            used, written = found[cpu]
            mine = addresses[first:end]
            used.update(mine)
            written.update(compress(mine, stores[first:end]))
        return found

    @cached_property
    def used(self) -> dict[int, tuple[set[int], set[int]]]:
        """The places that each CPU has used, and of those the ones that it has written."""
        stores = self.columns[3]
        found = {
            cpu: ({at >> GRAIN for at in used}, {at >> GRAIN for at in written})
            for cpu, (used, written) in self._addresses.items()
        }
        for cpu, _before, first, end in self.parts:
            used, written = found[cpu]
            for number, both in self.long(first, end):
                used.update(both)
                written.update(both if stores[number] else ())
        return found

    def touching(self, places: Set[int]) -> Iterator[tuple[int, int, list[int]]]:
        """The accesses to any of ``places``, by runs of one CPU.

        Of each run that has some: which CPU's, the instructions before, the accesses' numbers.
        """
        if not places:
            return
        every = set[int]().union(*(used for used, _ in self._addresses.values()))
        if len(places) << GRAIN < len(every):
            every &= {place << GRAIN | low for place in places for low in range(1 << GRAIN)}
        is_one = {at for at in every if at >> GRAIN in places}.__contains__
        addresses = self.columns[1]
        for cpu, before, first, end in self.parts:
            mine = [*compress(range(first, end), map(is_one, addresses[first:end]))]
            more = [at for at, both in self.long(first, end) if not places.isdisjoint(both)]
            if more:
                mine = sorted({*mine, *more})
            if mine:
                yield cpu, before, mine

    @cached_property
    def contested(self) -> list[Contested]:
        """Each access to what in this run several CPUs use, one of which writes.

        Those to what one CPU alone has used order nothing.
        """
        places, numbers = set[int](), self.columns[0]
        for writer, (_, written) in self.used.items():
            for user, (used, _) in self.used.items():
                if user != writer:
                    places |= written & used
        return [
            (at, cpu, before + numbers[at] - 1, *unpack_record(self.records, at))
            for cpu, before, mine in self.touching(places)
            for at in mine
        ]
