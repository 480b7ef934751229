"""Symbols from an ELF file's ``.symtab``, with the type letters that ``nm`` gives them."""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Sequence
from itertools import repeat

from kprobesim.errors import ImageError
from kprobesim.image.elf import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_LORESERVE,
    SHN_XINDEX,
    SHT_NOBITS,
    SHT_SYMTAB,
    Elf,
    Section,
)
from kprobesim.image.symbols.table import LABEL, Columns

__all__ = ["has_symtab", "read_symtab"]

ENTRY_SIZE = 24
SHN_UNDEF, SHN_ABS, SHN_COMMON = 0, 0xFFF1, 0xFFF2
STT_SECTION, STT_FILE, STT_OBJECT, STT_GNU_IFUNC = 3, 4, 1, 10
STB_LOCAL, STB_WEAK = 0, 2

#: No name of a kernel is longer than KSYM_NAME_LEN, 512; all have 10 MiB.
_LONGEST_NAME = 4096
_MOST_TEXT = 512 << 20
_BSS = re.compile(r"\.bss|\.\.?brk")
_DAMAGED = "copy or extract the file again"


def _find(elf: Elf) -> Section | None:
    return next((s for s in elf.sections if s.type == SHT_SYMTAB and s.size), None)


def has_symtab(elf: Elf) -> bool:
    """Whether the file was left its symbol table (it is not stripped)."""
    return _find(elf) is not None


def read_symtab(elf: Elf) -> Columns:
    """All named, defined symbols of ``elf`` in file order.

    Section and file symbols, undefined ones and the assembler's own labels (``.L*``, and ARM64's
    mapping symbols ``$x``/``$d``) are left out: they name nothing of the kernel.
    """
    table = _find(elf)
    if table is None or table.size % ENTRY_SIZE or table.link >= len(elf.sections):
        raise ImageError(elf.path, f"has a damaged symbol table; {_DAMAGED}")
    strings = elf.contents(elf.sections[table.link])
    numbers = elf.section_numbers(table) or repeat(0)
    # Three 64-bit words an entry: (name, info, other, shndx), value, size. Slicing an array by
    # columns keeps 120,000 entries out of the interpreter's loop.
    words = array("Q")
    words.frombytes(elf.contents(table))
    if sys.byteorder == "big":
        words.byteswap()
    letters = _letters(elf.sections)
    usual = min(len(letters), SHN_LORESERVE)

    names: list[bytes] = []
    kinds = bytearray()
    values = array("Q")
    sizes = array("Q")
    end_of = strings.find
    ignored = LABEL.match
    room = _MOST_TEXT
    for head, value, size, number in zip(
        words[0::3], words[1::3], words[2::3], numbers, strict=False
    ):
        kind = (head >> 32) & 0xF
        section = head >> 48
        start = head & 0xFFFFFFFF
        if section == SHN_UNDEF or kind in (STT_SECTION, STT_FILE) or not start:
            continue
        end = end_of(b"\0", start, start + _LONGEST_NAME)
        if end < 0:
            raise ImageError(elf.path, f"has a name without an end; {_DAMAGED}")
        name = strings[start:end]
        if not name or ignored(name):
            continue
        room -= len(name)
        if room < 0:
            raise ImageError(elf.path, f"has more than {_MOST_TEXT} bytes of names; {_DAMAGED}")
        binding = (head >> 36) & 0xF
        if binding == STB_WEAK:
            letter = 0x56 if kind == STT_OBJECT else 0x57  # V, W
        elif kind == STT_GNU_IFUNC:
            letter = 0x69  # i
        else:
            if section == SHN_XINDEX:
                letter = letters[number] if number < len(letters) else _special(section)
            else:
                letter = letters[section] if section < usual else _special(section)
            if binding != STB_LOCAL:
                letter &= 0xDF  # upper case
        names.append(name)
        kinds.append(letter)
        values.append(value)
        sizes.append(size)
    return Columns(names, values, sizes, bytes(kinds))


def _special(section: int) -> int:
    return {SHN_ABS: 0x61, SHN_COMMON: 0x63}.get(section, 0x6E)  # a, c, n


def _letters(sections: Sequence[Section]) -> bytes:
    """The letter of a local symbol in each section, as nm's decode_section_type finds it.

    In a file of debug information all sections are without bytes; those of the kernel are not.
    """
    debug_only = all(s.type == SHT_NOBITS for s in sections if s.is_code)
    letters = bytearray()
    for section in sections:
        flags = section.flags
        if not flags & SHF_ALLOC:
            letter = "n"
        elif flags & SHF_EXECINSTR:
            letter = "t"
        elif section.type == SHT_NOBITS and (not debug_only or _BSS.match(section.name)):
            letter = "b"
        else:
            letter = "d" if flags & SHF_WRITE else "r"
        letters.append(ord(letter))
    return bytes(letters)
