"""``.BTF.ext``: which line an instruction comes from, and what it asks of the kernel's types.

Documentation/bpf/btf.rst, "The .BTF.ext section": a header with places of three tables, each with
its own size of record, and by section of code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["BtfExt", "CoreRecord", "LineRecord"]

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_CORE_HEADER = struct.Struct("<II")
_SECTION = struct.Struct("<II")
_WORDS = struct.Struct("<IIII")


class LineRecord(NamedTuple):
    """From ``offset`` on, in bytes, code comes from this line. Names are offsets of strings."""

    offset: int
    file: int
    text: int
    line: int


class CoreRecord(NamedTuple):
    """``struct bpf_core_relo``: what the instruction at ``offset``, in bytes, is to be told."""

    offset: int
    type: int
    access: int
    kind: int


@dataclass(frozen=True)
class BtfExt:
    """The records by the name of their section, given as an offset of BTF's strings."""

    lines: dict[int, list[LineRecord]] = field(default_factory=dict)
    core: dict[int, list[CoreRecord]] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> BtfExt:
        """Take ``.BTF.ext`` apart.

        Raises:
            ValueError: It is damaged; the text says how.
        """
        if len(data) < _HEADER.size:
            raise ValueError(".BTF.ext is cut short")
        magic, version, _, length, _, _, lines, lines_size = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != 1 or not _HEADER.size <= length <= len(data):
            raise ValueError(".BTF.ext does not start with its header")
        core = core_size = 0
        if length >= _HEADER.size + _CORE_HEADER.size:
            core, core_size = _CORE_HEADER.unpack_from(data, _HEADER.size)
        found = cls()
        for section, words in _records(data, length + lines, lines_size, "lines"):
            # The line is above the ten bits of the column.
            record = LineRecord(words[0], words[1], words[2], words[3] >> 10)
            found.lines.setdefault(section, []).append(record)
        for section, words in _records(data, length + core, core_size, "relocations"):
            found.core.setdefault(section, []).append(CoreRecord(*words))
        return found


def _records(
    data: bytes, start: int, size: int, what: str
) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """The name of the section and the first four words of each record of a table."""
    if not size:
        return
    end = start + size
    if end > len(data) or size < 4:
        raise ValueError(f".BTF.ext speaks of more {what} than there are")
    (record,) = struct.unpack_from("<I", data, start)
    if record < _WORDS.size or record % 4:
        raise ValueError(f".BTF.ext has {what} of {record} bytes each")
    at = start + 4
    while at < end:
        if at + _SECTION.size > end:
            raise ValueError(f".BTF.ext is cut short within its {what}")
        section, count = _SECTION.unpack_from(data, at)
        at += _SECTION.size
        if not count or at + count * record > end:
            raise ValueError(f".BTF.ext speaks of more {what} than there are")
        for place in range(at, at + count * record, record):
            yield section, _WORDS.unpack_from(data, place)
        at += count * record
