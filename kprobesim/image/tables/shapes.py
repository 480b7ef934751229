"""What a kernel's tables look like: to find those whose place no symbol and no section tells."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from typing import Concatenate, ParamSpec, Protocol

from kprobesim.arch.architecture import Architecture, halves
from kprobesim.image.findings import Findings
from kprobesim.image.segment import Segment
from kprobesim.image.tables.discover import (
    JUMP_ENTRIES,
    find_address_runs,
    find_blacklist,
    find_records,
)

__all__ = ["Contents", "TableShapes"]

_ARM64_NOP = b"\x1f\x20\x03\xd5"
_ARM64_B = 0x14  # the highest bits of B

_Table = tuple[int, bytes]
_Parameters = ParamSpec("_Parameters")


class Contents(Protocol):
    """What is known of an image before its tables are."""

    @property
    def isa(self) -> Architecture:
        """What is to be known of its architecture."""

    @property
    def segments(self) -> Sequence[Segment]:
        """Its memory."""

    def segment_at(self, vaddr: int) -> Segment | None:
        """The segment with that address."""

    def contains(self, vaddr: int) -> bool:
        """Whether there is a segment with it."""

    def is_code(self, address: int) -> bool:
        """Whether it is an address of code."""

    def read(self, vaddr: int, size: int) -> bytes:
        """What is there."""

    def bounds(self, start: str, stop: str) -> tuple[int, int] | None:
        """The addresses of two symbols, if it has them."""


def _typed_entry(record: bytes) -> bool:
    """Whether two register numbers are in it (.altinstructions is 12 bytes and sorted, too)."""
    if len(record) != 12:
        return True
    kind, data = struct.unpack_from("<HH", record, 8)
    return bool(0 < kind < 16 and data < 1 << 10)


_EXCEPTION_ENTRIES = halves(x86_64=lambda _record: True, arm64=_typed_entry)
_HIDDEN_JUMP_TABLE = halves(x86_64=False, arm64=True)
_FTRACE_CODE: Mapping[str, Callable[[bytes], bool]] = halves(
    x86_64=lambda code: code[0] == 0xE8,  # a call of __fentry__
    arm64=lambda code: code == _ARM64_NOP * 2,  # -fpatchable-function-entry=2
)


def _once(
    search: Callable[Concatenate[TableShapes, _Parameters], _Table],
) -> Callable[Concatenate[TableShapes, _Parameters], _Table]:
    """Search only for what was not found before."""

    @wraps(search)
    def find(
        shapes: TableShapes, /, *arguments: _Parameters.args, **options: _Parameters.kwargs
    ) -> _Table:
        def place() -> list[int]:
            start, table = search(shapes, *arguments, **options)
            return [start, len(table)]

        start, size = shapes.findings.once(search.__name__, place)
        return start, shapes.image.read(start, size)

    return find


class TableShapes:
    """Finds the tables of ``image``, whose code is in the sorted ranges ``code``.

    A table is where it lies and its bytes: (0, b"") when there is none. ``findings`` has those that
    were found before.
    """

    def __init__(
        self, image: Contents, code: Sequence[tuple[int, int]], findings: Findings
    ) -> None:
        self.image = image
        self.findings = findings
        self._code = code

    @_once
    def exception_table(self) -> _Table:
        """Sorted, each entry two addresses of code."""
        image, entry = self.image, _EXCEPTION_ENTRIES[self.image.isa.name]

        def plausible(insn: int, fixup: int, record: bytes) -> bool:
            return entry(record) and image.is_code(insn) and image.is_code(fixup)

        return find_records(image.segments, (12, 8), plausible, rising=True)

    @_once
    def bug_table(self) -> _Table:
        """Each entry points at a BUG instruction."""
        return find_records(
            self.image.segments,
            (12, 16, 8),
            lambda trap, _file, _record: self.is_bug_trap(trap),
        )

    def is_bug_trap(self, address: int) -> bool:
        """Whether a BUG instruction lies at ``address``."""
        segment = self.image.segment_at(address)  # often asked: not through read()
        if segment is None:
            return False
        offset = address - segment.vaddr
        return bytes(segment.data[offset : offset + 4]).startswith(self.image.isa.bug_traps)

    @_once
    def jump_table(self) -> _Table:
        """Each entry points at a NOP or a branch. Only ARM64 needs it."""
        image, segment_at = self.image, self.image.segment_at
        constants = image.bounds("_etext", "_sinittext")  # where RO_DATA of vmlinux.lds.h puts it
        if not _HIDDEN_JUMP_TABLE[image.isa.name] or constants is None:
            return 0, b""

        def plausible(place: int, target: int, record: bytes) -> bool:
            if (place | target) & 3:
                return False
            holder = segment_at(place)  # asked 50,000 times: not through read()
            if holder is None or segment_at(target) is None:
                return False
            at, data = place - holder.vaddr, holder.data
            if at + 4 > len(data):
                return False
            return data[at + 3] & 0xFC == _ARM64_B or data[at : at + 4] == _ARM64_NOP

        parts = [part for s in image.segments if (part := s.part(*constants)) is not None]
        return find_records(parts, (16,), plausible, runs=JUMP_ENTRIES)

    @_once
    def mcount_sites(self) -> _Table:
        """The longest run of addresses at which ftrace patches."""
        sites = [run for run in self._code_pointers if len(run[1]) >= 64]
        ftrace = [
            run for run in sites if all(map(self._is_ftrace_site, run[1][:: len(run[1]) // 64]))
        ]
        start, words, _ = max(ftrace, key=lambda run: len(run[1]), default=(0, array("Q"), 0))
        return start, self.image.read(start, 8 * len(words))

    @_once
    def kprobe_blacklist(self, members: Sequence[int]) -> _Table:
        """The addresses of the table that holds all of ``members``."""
        start, words = find_blacklist(self._code_pointers, members) or (0, ())
        return start, self.image.read(start, 8 * len(words))

    @cached_property
    def _code_pointers(self) -> list[tuple[int, array[int], int]]:
        """Tables of addresses in code."""
        if not self._code:
            return []
        return find_address_runs(self.image.segments, self._code[0][0], self._code[-1][1], 8)

    def _is_ftrace_site(self, address: int) -> bool:
        if not self.image.contains(address) or not self.image.contains(address + 7):
            return False
        return _FTRACE_CODE[self.image.isa.name](self.image.read(address, 8))
