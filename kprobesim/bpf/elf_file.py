"""The ELF file that a compiled eBPF object is: its sections, symbols and relocations.

A large agent has tens of thousands of symbols and relocations, which are three fixed layouts of the
ELF gABI; each is unpacked whole. The tests hold this reader against pyelftools.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kprobesim.errors import BpfObjectError

__all__ = ["ElfFile", "Relocation", "Section", "Symbol"]

ELF_MAGIC = b"\x7fELF"
EM_NONE, EM_BPF = 0, 247
ET_REL = 1
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_NOBITS, SHT_REL = 0, 1, 2, 8, 9
SHF_EXECINSTR = 4
SHN_UNDEF = 0
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STV_INTERNAL, STV_HIDDEN = 1, 2
STT_NOTYPE, STT_FUNC, STT_SECTION = 0, 2, 3

_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QII")
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_LONGEST_NAME = 4096
_MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 62: "x86-64", 183: "ARM64", 243: "RISC-V"}
_COMPILE = "compile it with clang -target bpf -g -O2 -c"
_AGAIN = "copy or compile it again"


class Symbol(NamedTuple):
    """One entry of the symbol table. ``section`` is an index; 0 is what others define."""

    name: str
    kind: int
    binding: int
    section: int
    value: int
    size: int
    visibility: int = 0

    @property
    def is_hidden(self) -> bool:
        """Whether the verifier may take a global function for a static one."""
        return self.visibility in (STV_INTERNAL, STV_HIDDEN)

    @property
    def is_extern(self) -> bool:
        """Whether the kernel is to supply it: undefined, global or weak, without a type."""
        return (
            self.section == SHN_UNDEF
            and self.binding in (STB_GLOBAL, STB_WEAK)
            and self.kind == STT_NOTYPE
        )

    @property
    def is_weak(self) -> bool:
        """Whether the object does without it, if need be."""
        return self.binding == STB_WEAK


class Relocation(NamedTuple):
    """The place ``offset`` in a section that refers to symbol number ``symbol``."""

    offset: int
    symbol: int


@dataclass(frozen=True)
class Section:
    """One section with its bytes; without any if it is one of zeroes."""

    index: int
    name: str
    kind: int
    flags: int
    link: int
    info: int
    data: bytes

    @property
    def is_code(self) -> bool:
        """Whether it holds instructions."""
        return self.kind == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR) and bool(self.data)


class ElfFile:
    """A relocatable ELF file for the eBPF machine.

    Args:
        data: The file.
        path: How to call it in errors.

    Raises:
        BpfObjectError: It is none: another machine, big-endian, cut short, damaged.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self.path = path
        self._data = data
        self.sections = self._read_sections()
        self.symbols = self._read_symbols()

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((one for one in self.sections if one.name == name), None)

    def relocations(self) -> Iterator[tuple[Section, tuple[Relocation, ...]]]:
        """Each section that has relocations, with them."""
        for table in self.sections:
            if table.kind != SHT_REL or not 0 < table.info < len(self.sections):
                continue
            whole = len(table.data) // _RELOCATION.size * _RELOCATION.size
            found = []
            for offset, _, symbol in _RELOCATION.iter_unpack(table.data[:whole]):
                if symbol >= len(self.symbols):
                    raise self._error(f"a relocation of {table.name} names no symbol")
                found.append(Relocation(offset, symbol))
            yield self.sections[table.info], tuple(found)

    def _error(self, problem: str) -> BpfObjectError:
        return BpfObjectError(self.path, problem)

    def _check_header(self) -> tuple[int, int, int]:
        """Where the table of sections is, how many there are, and which holds their names."""
        data = self._data
        if data[:4] != ELF_MAGIC:
            raise self._error(f"not an ELF file, so no compiled eBPF object; {_COMPILE}")
        if len(data) < _HEADER.size:
            raise self._error(f"cut short within its ELF header; {_AGAIN}")
        if data[4] != 2:
            raise self._error("a 32-bit ELF file; eBPF objects have 64 bits")
        if data[5] != 1:
            raise self._error(
                "a big-endian ELF file, and kernels are little-endian here; "
                "compile it with -target bpfel"
            )
        header = _HEADER.unpack_from(data)
        kind, machine, place = header[1], header[2], header[6]
        entry, count, names = header[11:]
        if machine not in (EM_NONE, EM_BPF):
            name = _MACHINES.get(machine, f"machine {machine}")
            raise self._error(f"an ELF file for {name}, not for eBPF; {_COMPILE}")
        if kind != ET_REL:
            raise self._error(f"no relocatable ELF file (type {kind}); give what clang -c wrote")
        if entry != _SECTION.size or not count or place + count * entry > len(data):
            raise self._error(f"its table of sections is not in the file; {_AGAIN}")
        if names >= count:
            raise self._error(f"its sections have no names; {_AGAIN}")
        return place, count, names

    def _read_sections(self) -> tuple[Section, ...]:
        place, count, names = self._check_header()
        table = self._data[place : place + count * _SECTION.size]
        headers = list(_SECTION.iter_unpack(table))
        strings = self._bytes_of(headers[names], "the names of sections")
        found = []
        for index, header in enumerate(headers):
            name = _string(strings, header[0])
            data = b"" if header[1] == SHT_NOBITS else self._bytes_of(header, name)
            found.append(Section(index, name, header[1], header[2], header[6], header[7], data))
        return tuple(found)

    def _bytes_of(self, header: tuple[int, ...], what: str) -> bytes:
        kind, offset, size = header[1], header[4], header[5]
        if kind == SHT_NULL:
            return b""
        if offset + size > len(self._data):
            raise self._error(f"section {what or '?'} ends behind the file; {_AGAIN}")
        return self._data[offset : offset + size]

    def _read_symbols(self) -> tuple[Symbol, ...]:
        table = next((one for one in self.sections if one.kind == SHT_SYMTAB), None)
        if table is None:
            raise self._error("it has no symbol table, so it was stripped; give it unstripped")
        if not 0 < table.link < len(self.sections):
            raise self._error(f"its symbols have no names; {_AGAIN}")
        strings = self.sections[table.link].data
        whole = len(table.data) // _SYMBOL.size * _SYMBOL.size
        return tuple(
            Symbol(_string(strings, name), info & 15, info >> 4, section, value, size, other & 3)
            for name, info, other, section, value, size in _SYMBOL.iter_unpack(table.data[:whole])
        )


def _string(strings: bytes, offset: int) -> str:
    """The text at ``offset`` of a table of strings; of names that do not end, the beginning."""
    end = strings.find(b"\0", offset, offset + _LONGEST_NAME)
    return strings[offset : end if end >= 0 else offset + _LONGEST_NAME].decode("utf-8", "replace")
