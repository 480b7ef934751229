"""The sections of PE files: EFI programs, as which ARM64 Images and unified kernel images start.

Layout: Microsoft's "PE Format". Headers of 64 and 40 bytes are all that is needed; a library for
PE takes half a second to import, and parses all that a stranger's file has, in native code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kprobesim.image.files.source import Buffer

__all__ = ["PeSection", "pe_sections"]

_HEADER = struct.Struct("<4s2xH12xH2x")
_SECTION = struct.Struct("<8sIIII16x")
_MOST_SECTIONS = 96  # the loader's limit


class PeSection(NamedTuple):
    """One section: ``size`` bytes at ``offset`` in the file, padded to more than ``virtual_size``.

    ``name`` has no NULs at its end.
    """

    name: bytes
    virtual_size: int
    size: int
    offset: int


def pe_sections(data: Buffer, header: int) -> Iterator[PeSection]:
    """The sections of the file whose PE header is at ``header``; none if there is no such."""
    head = data[header : header + _HEADER.size]
    if not header or len(head) < _HEADER.size:
        return
    magic, count, optional = _HEADER.unpack(head)
    if magic != b"PE\0\0":
        return
    at = header + _HEADER.size + optional
    table = data[at : at + _SECTION.size * min(count, _MOST_SECTIONS)]
    whole = len(table) - len(table) % _SECTION.size
    for name, virtual_size, _address, size, offset in _SECTION.iter_unpack(table[:whole]):
        yield PeSection(name.rstrip(b"\0"), virtual_size, size, offset)
