"""The header of BTF: where its types and strings are, and how long each kind of type is."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kprobesim.errors import TypesError
from kprobesim.types.model import KINDS

__all__ = ["HEADER", "MAGIC", "MOST_ELEMENTS", "RECORD", "Header", "read_header"]

MAGIC = b"\x9f\xeb\x01"  # 0xeb9f, version 1
_BIG_ENDIAN = b"\xeb\x9f"
#: magic version flags hdr_len type_off type_len str_off str_len; layout_off _len since Linux 7.1.
HEADER = struct.Struct("<HBBIIIII")
_LAYOUT_HEADER = struct.Struct("<II")
_LAYOUT = struct.Struct("<BBH")  # bytes once, bytes for each element, flags

RECORD = 3  # words that each type starts with
# Words behind these, by the type's kind: for each of its elements, and once.
_ELEMENT = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
_ONCE = {1: 1, 3: 3, 14: 1, 17: 1}
_ALL_KINDS = 128  # the kind has 7 bits since Linux 7.2, 5 before
MOST_ELEMENTS = 0xFF_FFFF  # 24 bits since Linux 7.2, 16 before; those between were 0


class Header(NamedTuple):
    """What the header says.

    Attributes:
        types: Where the types start and end, in bytes from the header.
        strings: Where the strings do.
        end: Where all of it ends.
        once: How many words a type has without its elements, by the upper byte of its info; 0 if
            nobody knows that kind.
        element: How many words each element has.
    """

    types: tuple[int, int]
    strings: tuple[int, int]
    end: int
    once: list[int]
    element: list[int]


def read_header(data: bytes | memoryview, source: str) -> Header:
    """The header that ``data`` starts with.

    Raises:
        TypesError: There is none, or it speaks of more than there is.
    """
    head = bytes(data[: HEADER.size])
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise TypesError(source, _no_btf(head))
    length, types, types_size, strings, strings_size = HEADER.unpack(head)[3:]
    end = length + max(types + types_size, strings + strings_size)
    if length < HEADER.size or types % 4 or types_size % 4 or end > len(data):
        raise TypesError(
            source,
            "its BTF is damaged: its header speaks of more than there is; it may be cut short",
        )
    types, strings = length + types, length + strings
    once, element = _steps(data, length)
    return Header(
        (types, types + types_size), (strings, strings + strings_size), end, once, element
    )


def _steps(data: bytes | memoryview, length: int) -> tuple[list[int], list[int]]:
    """How long each kind is, in words; the layout tells of kinds that came later than this."""
    once, element = [0] * _ALL_KINDS, [0] * _ALL_KINDS
    for kind in range(1, len(KINDS)):
        once[kind] = RECORD + _ONCE.get(kind, 0)
        element[kind] = _ELEMENT.get(kind, 0)
    if length >= HEADER.size + _LAYOUT_HEADER.size:
        start, size = _LAYOUT_HEADER.unpack_from(data, HEADER.size)
        table = bytes(data[length + start : length + start + min(size, _LAYOUT.size * _ALL_KINDS)])
        table = table[: len(table) // _LAYOUT.size * _LAYOUT.size]
        for kind, (each, every, _) in enumerate(_LAYOUT.iter_unpack(table)):
            if len(KINDS) <= kind < _ALL_KINDS and each % 4 == every % 4 == 0:
                once[kind], element[kind] = RECORD + each // 4, every // 4
    return once * 2, element * 2  # with the flag and without


def _no_btf(head: bytes) -> str:
    if head.startswith(_BIG_ENDIAN):
        return "is BTF of a big-endian machine; kprobesim reads little-endian ones"
    if head.startswith(MAGIC[:2]):
        return f"is BTF of version {head[2] if len(head) > 2 else '?'}; kprobesim knows version 1"
    return "is no BTF: its magic is missing"
