"""Finished ELF files, rewritten: what other linkers and tools would have made of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = "<IIQQQQIIQQ"
SYMTAB, STRTAB, NOBITS, SYMTAB_SHNDX = 2, 3, 8, 18
ALLOC = 2


@dataclass
class Head:
    """One ``Elf64_Shdr``."""

    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    def pack(self) -> bytes:
        return struct.pack(HEADER, *vars(self).values())


def heads(data: bytes | bytearray) -> list[Head]:
    """The section headers of a file."""
    (start,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    return [Head(*struct.unpack_from(HEADER, data, start + 64 * i)) for i in range(count)]


def with_many_sections(elf: bytes, more: int = 0xFF00) -> bytes:
    """``elf`` with ``more`` empty sections before its own, whose numbers fit no 16 bits then."""
    data = bytearray(elf)
    (names_in,) = struct.unpack_from("<H", data, 62)
    old = heads(data)
    for head in old:
        if head.type in (SYMTAB, 4):
            head.link += more
    table = next(head for head in old if head.type == SYMTAB)
    numbers = bytearray()
    for at in range(table.offset, table.offset + table.size, 24):
        (section,) = struct.unpack_from("<H", data, at + 6)
        moved = 0 < section < len(old)
        numbers += struct.pack("<I", section + more if moved else 0)
        if moved:
            struct.pack_into("<H", data, at + 6, 0xFFFF)
    extra = Head(0, SYMTAB_SHNDX, 0, 0, len(data), len(numbers), old.index(table) + more, 0, 4, 4)
    data += numbers
    first = Head(0, 0, 0, 0, 0, len(old) + more + 1, names_in + more, 0, 0, 0)
    fillers = [Head(0, 1, 0, 0, 0, 0, 0, 0, 1, 0)] * more
    struct.pack_into("<Q", data, 40, len(data))
    struct.pack_into("<HH", data, 60, 0, 0xFFFF)
    return bytes(data) + b"".join(head.pack() for head in [first, *fillers, *old[1:], extra])


def debug_only(elf: bytes, *, keep_sizes: bool) -> bytes:
    """What ``objcopy --only-keep-debug`` leaves, or eu-strip, which keeps the segments' sizes."""
    data = bytearray(elf)
    (start,) = struct.unpack_from("<Q", data, 40)
    for number, head in enumerate(heads(data)):
        if head.flags & ALLOC and head.type != NOBITS:
            data[head.offset : head.offset + head.size] = bytes(head.size)
            struct.pack_into("<I", data, start + 64 * number + 4, NOBITS)
    segments, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    for at in range(segments, segments + 56 * count, 56):
        if keep_sizes:
            struct.pack_into("<Q", data, at + 8, 1 << 40)  # where the whole file had them
        else:
            struct.pack_into("<Q", data, at + 32, 0)
    return bytes(data)


def with_symbol(elf: bytes, name: str, section: int, *, binding: int = 1) -> bytes:
    """``elf`` with one more symbol, of value 0, in the section of that number."""
    data = bytearray(elf)
    (start,) = struct.unpack_from("<Q", data, 40)
    all_heads = heads(data)
    number = next(i for i, head in enumerate(all_heads) if head.type == SYMTAB)
    table = all_heads[number]
    strings = all_heads[table.link]
    symbol = struct.pack("<IBBHQQ", strings.size, binding << 4, 0, section, 0, 0)
    for which, head, new in (
        (number, table, symbol),
        (table.link, strings, name.encode() + b"\0"),
    ):
        data += bytes(-len(data) % 8)
        contents = bytes(data[head.offset : head.offset + head.size]) + new
        struct.pack_into("<QQ", data, start + 64 * which + 24, len(data), len(contents))
        data += contents
    return bytes(data)
