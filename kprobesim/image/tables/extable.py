"""``__ex_table``: which instructions may fault, and where the kernel goes on when they do."""

from __future__ import annotations

import itertools
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping

from kprobesim.arch.architecture import halves
from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["ExceptionEntry", "ExceptionTable"]


@dataclass(frozen=True, slots=True, repr=False)
class ExceptionEntry(HexRepr):
    """One ``struct exception_table_entry`` with its addresses resolved.

    ``type`` is ``None`` in layouts without one (x86 before 5.16, ARM64 before 5.16). ``data`` is
    ARM64's u16, or on x86 the whole signed word, of which ``type`` is the low byte. ``handler`` is
    the handler function's address in x86's layout of 4.6-5.15.
    """

    insn: int
    fixup: int
    type: int | None = None
    data: int = 0
    handler: int | None = None


def _bare(insn: int, fixup: int, _at: int, _word: bytes) -> ExceptionEntry:
    return ExceptionEntry(insn, fixup)


def _arm64_typed(insn: int, fixup: int, _at: int, word: bytes) -> ExceptionEntry:
    kind, data = struct.unpack("<HH", word)
    return ExceptionEntry(insn, fixup, kind, data)


def _x86_typed(insn: int, fixup: int, _at: int, word: bytes) -> ExceptionEntry:
    (data,) = struct.unpack("<i", word)
    return ExceptionEntry(insn, fixup, data & 0xFF, data)


def _x86_handler(insn: int, fixup: int, at: int, word: bytes) -> ExceptionEntry:
    (distance,) = struct.unpack("<i", word)
    return ExceptionEntry(insn, fixup, handler=at + distance)


# By the size of an entry; the newest first.
_LAYOUTS: Mapping[str, list[tuple[int, Callable[[int, int, int, bytes], ExceptionEntry]]]] = halves(
    x86_64=[(12, _x86_typed), (12, _x86_handler), (8, _bare)],
    arm64=[(12, _arm64_typed), (8, _bare)],
)


class ExceptionTable:
    """The table at ``start``, whose ``table`` bytes are read in the layout that they show.

    ``is_code`` tells code addresses; the layout is the one whose entries all point at code.
    """

    def __init__(self, arch: str, start: int, table: bytes, is_code: Callable[[int], bool]) -> None:
        self._is_code = is_code
        #: Share of the entries that make sense in the layout that fits best, 0 to 1.
        self.confidence = 0.0
        best: list[ExceptionEntry] = []
        best_score = 0.0
        for size, build in _LAYOUTS[arch]:
            if not table or len(table) % size:
                continue
            entries = [
                build(
                    start + at + int.from_bytes(table[at : at + 4], "little", signed=True),
                    start + at + 4 + int.from_bytes(table[at + 4 : at + 8], "little", signed=True),
                    start + at + 8,
                    table[at + 8 : at + size],
                )
                for at in range(0, len(table), size)
            ]
            sound = sum(map(self._plausible, entries)) / len(entries)
            # The build sorts the table, so in the right layout it is sorted.
            rising = sum(a.insn < b.insn for a, b in itertools.pairwise(entries)) / len(entries)
            if sound and sound + rising > best_score:
                best, best_score, self.confidence = entries, sound + rising, sound
        self._entries = sorted(best, key=lambda entry: entry.insn)
        self._insns = [entry.insn for entry in self._entries]

    @classmethod
    def of(cls, entries: Iterable[ExceptionEntry], confidence: float) -> ExceptionTable:
        """The table of entries that were read before."""
        table = cls.__new__(cls)
        table.confidence = confidence
        table._entries = sorted(entries, key=lambda entry: entry.insn)
        table._insns = [entry.insn for entry in table._entries]
        return table

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ExceptionEntry]:
        """All entries, by the address of the instruction."""
        return iter(self._entries)

    def search(self, address: int) -> ExceptionEntry | None:
        """The entry of the instruction at ``address``, as search_exception_tables finds it."""
        index = bisect_left(self._insns, address)
        if index < len(self._insns) and self._insns[index] == address:
            return self._entries[index]
        return None

    def any_in(self, start: int, end: int) -> bool:
        """Whether an instruction in ``[start, end)`` has an entry."""
        index = bisect_left(self._insns, start)
        return index < len(self._insns) and self._insns[index] < end

    def _plausible(self, entry: ExceptionEntry) -> bool:
        if not self._is_code(entry.insn) or not self._is_code(entry.fixup):
            return False
        if entry.handler is not None:
            return self._is_code(entry.handler)
        # Types are numbered from 1; both architectures have fewer than 32 of them (6.17).
        return entry.type is None or 0 < entry.type < 64
