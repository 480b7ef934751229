"""Reading of 64-bit little-endian ELF kernels: headers, segments, sections, raw symbol entries.

Headers of a debug kernel are 82 sections in a 590 MB file: nothing but headers, segments and the
symbol table is ever read, each when it is asked for. Layouts: ELF gABI 4.2.
"""

from __future__ import annotations

import struct
import sys
from array import array
from pathlib import Path

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.errors import ImageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image.files.source import MAX_IMAGE_SIZE, Buffer, part
from kprobesim.late_dataclasses import dataclass

__all__ = ["ELF_MAGIC", "Elf", "ProgramHeader", "Section"]

ELF_MAGIC = b"\x7fELF"

#: e_machine -> our name of the architecture.
MACHINES = {isa.elf_machine: isa.name for isa in ARCHITECTURES.values()}
#: What people try by mistake, to name it in the error.
OTHER_MACHINES = {3: "32-bit x86", 8: "MIPS", 21: "PowerPC64", 22: "s390", 40: "32-bit ARM"} | {
    243: "RISC-V",
    258: "LoongArch",
}
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD = 1
PF_X, PF_W, PF_R = 1, 2, 4
SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_SYMTAB_SHNDX = 2, 4, 8, 18
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_LORESERVE, SHN_XINDEX = 0xFF00, 0xFFFF
PN_XNUM = 0xFFFF

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYMBOL_SIZE = 24
#: FGKASLR gives each of 50,000 functions a section.
_MOST_SECTIONS = 1 << 18
_LONGEST_NAME = 512
#: The sections that are read, which are not those of DWARF: a kernel's .strtab has 10 MiB.
_LARGEST_SECTION = 256 << 20
_REBUILD = "the file is cut short or damaged; copy or extract it again"


@dataclass(frozen=True, slots=True, repr=False)
class ProgramHeader(HexRepr):
    """One ``Elf64_Phdr`` of type PT_LOAD."""

    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


@dataclass(frozen=True, slots=True, repr=False)
class Section(HexRepr):
    """One ``Elf64_Shdr`` with its name."""

    index: int
    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int = 0
    align: int = 1

    @property
    def is_alloc(self) -> bool:
        """Whether the section takes part in the loaded image."""
        return bool(self.flags & SHF_ALLOC)

    @property
    def is_code(self) -> bool:
        """Whether the loaded section holds instructions."""
        return self.is_alloc and bool(self.flags & SHF_EXECINSTR)


class Elf:
    """The validated headers of an ELF kernel in ``data``; ``ImageError`` names ``path``.

    ``relocatable``: of a module instead.
    """

    def __init__(self, path: Path, data: Buffer, *, relocatable: bool = False) -> None:
        self.path = path
        self.data = data
        if len(data) < _EHDR.size:
            raise ImageError(path, f"is an ELF file of only {len(data)} bytes; {_REBUILD}")
        (
            ident, self.type, machine, _version, self.entry, phoff, shoff, _flags,
            ehsize, phentsize, phnum, shentsize, shnum, shstrndx,
        ) = _EHDR.unpack(data[: _EHDR.size])  # fmt: skip
        if ident[4] != 2 or ident[5] != 1:
            what = "32-bit" if ident[4] == 1 else "big-endian" if ident[5] == 2 else "unknown-class"
            raise ImageError(
                path, f"is a {what} ELF file; kprobesim runs 64-bit little-endian x86 and ARM"
            )
        if machine not in MACHINES:
            name = OTHER_MACHINES.get(machine, f"machine number {machine}")
            raise ImageError(path, f"is an ELF file for {name}; kprobesim runs x86-64 and ARM64")
        if relocatable and self.type != ET_REL:
            raise ImageError(path, "is a linked ELF file, no module; name a .ko")
        if not relocatable and self.type not in (ET_EXEC, ET_DYN):
            kind = {ET_REL: "an object file or module (.o, .ko)", ET_CORE: "a core dump"}.get(
                self.type, f"an ELF file of type {self.type}"
            )
            raise ImageError(path, f"is {kind}, not a linked kernel; name the vmlinux")
        self.arch = MACHINES[machine]
        if ehsize != _EHDR.size:
            raise ImageError(path, f"has an ELF header of {ehsize} bytes instead of 64; {_REBUILD}")
        if phnum and phentsize != _PHDR.size:
            raise ImageError(path, f"has program headers of {phentsize} bytes, not 56; {_REBUILD}")
        if phnum == PN_XNUM:
            phnum = self._first_section(shoff)[7]
        self._check_table("program headers", phoff, phnum * _PHDR.size)
        self.loads = tuple(self._read_loads(phoff, phnum))
        if not self.loads and not relocatable:
            raise ImageError(path, "has no loadable segment; it is no kernel that could run")
        self.sections: tuple[Section, ...] = ()
        if shoff and (shnum or shoff < len(data)):
            if shentsize != _SHDR.size:
                raise ImageError(
                    path, f"has section headers of {shentsize} bytes, not 64; {_REBUILD}"
                )
            self.sections = self._read_sections(shoff, shnum, shstrndx)

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def contents(self, section: Section) -> bytes:
        """The section's bytes, copied (empty for SHT_NOBITS)."""
        if section.type == SHT_NOBITS:
            return b""
        if section.size > _LARGEST_SECTION:
            raise ImageError(
                self.path, f"its section {section.name} has {section.size} bytes; {_REBUILD}"
            )
        return bytes(self.data[section.offset : section.offset + section.size])

    def section_numbers(self, table: Section) -> array[int] | None:
        """The section of each symbol in ``table`` whose own field says SHN_XINDEX.

        ``None`` if there are no such symbols: the file has less than 0xff00 sections (gABI 4.2).
        """
        for section in self.sections:
            if section.type == SHT_SYMTAB_SHNDX and section.link == table.index:
                numbers = array("I", self.contents(section)[: section.size & ~3])
                if len(numbers) * _SYMBOL_SIZE != table.size:
                    raise ImageError(self.path, f"its {section.name} is cut short; {_REBUILD}")
                if sys.byteorder == "big":
                    numbers.byteswap()
                return numbers
        return None

    def _check_table(self, what: str, offset: int, size: int) -> None:
        if offset + size > len(self.data):
            raise ImageError(
                self.path,
                f"its {what} end at byte {offset + size} but the file has {len(self.data)}; "
                + _REBUILD,
            )

    def _first_section(self, shoff: int) -> tuple[int, ...]:
        """Section 0, which holds the numbers that do not fit the ELF header (gABI 4.2)."""
        self._check_table("section headers", shoff, _SHDR.size)
        return _SHDR.unpack(self.data[shoff : shoff + _SHDR.size])

    def _read_loads(self, phoff: int, phnum: int) -> list[ProgramHeader]:
        loads = []
        table = self.data[phoff : phoff + phnum * _PHDR.size]
        for i, header in enumerate(_PHDR.iter_unpack(table)):
            kind, flags, offset, vaddr, paddr, filesz, memsz, _align = header
            if kind != PT_LOAD or not memsz:
                continue
            if filesz > memsz:
                raise ImageError(
                    self.path, f"segment {i} has more bytes in the file than in memory; {_REBUILD}"
                )
            if vaddr + memsz > 1 << 64:
                raise ImageError(self.path, f"segment {i} wraps around 2^64; {_REBUILD}")
            loads.append(ProgramHeader(flags, offset, vaddr, paddr, filesz, memsz))
        total = sum(load.memsz for load in loads)
        if total > MAX_IMAGE_SIZE:
            raise ImageError(
                self.path,
                f"wants {total} bytes of memory, but the limit is 1 GiB; {_REBUILD}",
            )
        return loads

    def segment_bytes(self, load: ProgramHeader) -> memoryview:
        """What the file has of the segment ``load``.

        Checked here only: a file of debug information has the headers of segments without them.
        """
        self._check_table(f"segment {self.loads.index(load)}'s bytes", load.offset, load.filesz)
        return part(self.data, load.offset, load.offset + load.filesz)

    def _read_sections(self, shoff: int, shnum: int, shstrndx: int) -> tuple[Section, ...]:
        first = self._first_section(shoff)
        shnum = shnum or first[5]
        shstrndx = first[6] if shstrndx == SHN_XINDEX else shstrndx
        if not shnum:
            return ()
        self._check_table("section headers", shoff, shnum * _SHDR.size)
        if shnum > _MOST_SECTIONS:
            raise ImageError(self.path, f"has {shnum} sections, no kernel has; {_REBUILD}")
        if shstrndx >= shnum:
            raise ImageError(self.path, f"names its sections from section {shstrndx}; {_REBUILD}")
        raw = list(_SHDR.iter_unpack(self.data[shoff : shoff + shnum * _SHDR.size]))
        length = len(self.data)
        for i, header in enumerate(raw):
            if header[4] + header[5] > length and header[1] not in (0, SHT_NOBITS):
                self._check_table(f"section {i}'s bytes", header[4], header[5])
        where, size = raw[shstrndx][4:6]
        names = bytes(self.data[where : where + min(size, _MOST_SECTIONS * _LONGEST_NAME)])
        sections = []
        for i, (name, *fields, _entry_size) in enumerate(raw):
            text = names[name : max(names.find(b"\0", name, name + _LONGEST_NAME), name)]
            sections.append(Section(i, text.decode("utf-8", "replace"), *fields))
        return tuple(sections)
