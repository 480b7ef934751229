"""``__bug_table``: the trapping instructions that stand for BUG() and WARN()."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["BugEntry", "BugTable", "KnownBugs"]

BUGFLAG_WARNING = 1
BUGFLAG_ONCE = 2


@dataclass(frozen=True, slots=True, repr=False)
class BugEntry(HexRepr):
    """One ``struct bug_entry``; ``file`` is ``None`` without CONFIG_DEBUG_BUGVERBOSE."""

    addr: int
    file: str | None
    line: int
    flags: int

    @property
    def is_warning(self) -> bool:
        """Whether execution goes on after the report."""
        return bool(self.flags & BUGFLAG_WARNING)

    @property
    def is_once(self) -> bool:
        """Whether only the first time is reported."""
        return bool(self.flags & BUGFLAG_ONCE)


#: Layouts of struct bug_entry with relative pointers: plain, verbose, and verbose with a format
#: (6.19). Each: struct format, index of the file's distance (None: absent), byte offset of it.
_LAYOUTS: tuple[tuple[str, int | None, int], ...] = (
    ("<iiHH", 1, 4),
    ("<iHxx", None, 0),
    ("<iiiHH", 2, 8),
)


class BugTable:
    """The table at ``start`` with its ``table`` bytes.

    ``is_trap`` tells whether a BUG instruction (UD2, BRK #0x800) lies at an address, ``text`` reads
    a string there. The layout is the one whose entries all point at such instructions.
    """

    def __init__(
        self,
        start: int,
        table: bytes,
        is_trap: Callable[[int], bool],
        text: Callable[[int], str | None],
    ) -> None:
        self._text = text
        self._start = start
        self._table = table
        self._layout = _LAYOUTS[0]
        # Where each entry lies, by the address of its instruction: 10,000 entries are made when
        # somebody asks for them.
        self._places: dict[int, int] = {}
        best = 0.0
        for layout in _LAYOUTS:
            size = struct.calcsize(layout[0])
            if not table or len(table) % size:
                continue
            # A few hundred neighbours tell the layouts apart.
            sample = list(islice(_rows(layout[0], start, table), 512))
            score = sum(is_trap(where + row[0]) for where, row in sample) / len(sample)
            if score > best:
                best, self._layout = score, layout
        if best:
            rows = _rows(self._layout[0], start, table)
            self._places = {where + row[0]: where for where, row in rows}
        #: Share of the sampled entries that point at a trapping instruction, 0 to 1.
        self.confidence = best
        self._file_base = self._find_file_base()

    def _find_file_base(self) -> int:
        """Where in an entry the distance to its file is counted from.

        Before 6.0 that is the entry's start, now the distance's own place: the base that makes
        more of the sampled distances lead to the first byte of a string is the right one.
        """
        _format, index, own = self._layout
        if index is None or not own:
            return own
        places = list(self._places.values())
        sample = places[:: max(1, len(places) // 64)]

        def strings(base: int) -> int:
            return sum(
                bool(self._text(at)) and self._text(at - 1) == ""
                for at in (where + base + self._row(where)[index] for where in sample)
            )

        return 0 if strings(0) > strings(own) else own

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[BugEntry]:
        """All entries, in the table's order."""
        return map(self._entry, self._places)

    def __contains__(self, address: object) -> bool:
        return address in self._places

    def at(self, address: int) -> BugEntry | None:
        """The entry of the instruction at ``address``, as find_bug finds it."""
        return self._entry(address) if address in self._places else None

    def record(self, where: int) -> BugEntry | None:
        """The entry that lies at the address ``where`` in the table.

        x86 since 6.19 has WARNs that call ``__WARN_trap`` with their entry in RDI.
        """
        address = self._by_record.get(where)
        return None if address is None else self._entry(address)

    def records(self) -> Iterator[tuple[int, BugEntry]]:
        """Each entry with where its record lies, in the table's order."""
        for where, address in self._by_record.items():
            yield where, self._entry(address)

    @cached_property
    def _by_record(self) -> dict[int, int]:
        return {where: address for address, where in self._places.items()}

    def _row(self, where: int) -> tuple[int, ...]:
        return struct.unpack_from(self._layout[0], self._table, where - self._start)

    def _entry(self, address: int) -> BugEntry:
        where = self._places[address]
        row = self._row(where)
        file_index = self._layout[1]
        if file_index is None:
            return BugEntry(address, None, 0, row[1])
        file = self._text(where + self._file_base + row[file_index])
        return BugEntry(address, file, row[-2], row[-1])


def _rows(layout: str, start: int, table: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Address and fields of each entry."""
    places = range(start, start + len(table), struct.calcsize(layout))
    return zip(places, struct.iter_unpack(layout, table), strict=True)


class KnownBugs(BugTable):
    """A table that was read before.

    Args:
        entries: Addresses of traps, and for each where its record lies, the number of its file
            (0: none) from 1 on, its line and its flags.
        files: The files.
        confidence: What the table's was.
    """

    def __init__(
        self,
        entries: Mapping[int, tuple[int, int, int, int]],
        files: Sequence[str],
        confidence: float,
    ) -> None:
        self._known = entries
        self._files = files
        self.confidence = confidence

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[BugEntry]:
        return map(self._entry, self._known)

    def __contains__(self, address: object) -> bool:
        return address in self._known

    def at(self, address: int) -> BugEntry | None:
        """The entry of the instruction at ``address``."""
        return self._entry(address) if address in self._known else None

    @cached_property
    def _by_record(self) -> dict[int, int]:
        return {record: address for address, (record, *_) in self._known.items()}

    def _entry(self, address: int) -> BugEntry:
        _, file, line, flags = self._known[address]
        return BugEntry(address, self._files[file - 1] if file else None, line, flags)
