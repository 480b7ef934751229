"""``ModuleFile``: a kernel module as it lies on disk, a relocatable ELF file that may be packed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from kprobesim.errors import ImageError
from kprobesim.hexrepr import HexRepr
from kprobesim.image.elf import (
    ELF_MAGIC,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_RELA,
    SHT_SYMTAB,
    Elf,
    Section,
)
from kprobesim.image.files.compression import CompressionError, Packed, compression_of, decompress
from kprobesim.image.files.source import Buffer, read_file
from kprobesim.late_dataclasses import dataclass

__all__ = [
    "MAX_MODULE_SIZE",
    "ModuleFile",
    "ModuleSymbol",
    "Relocation",
    "function_table",
    "module_name",
    "read_module",
]

#: No module unpacks to more, or occupies more of the guest: the largest of Debian's has 11 MiB.
MAX_MODULE_SIZE = 128 << 20

SHN_UNDEF, SHN_ABS, SHN_COMMON = 0, 0xFFF1, 0xFFF2
#: Relocations that are left to livepatch (include/uapi/linux/elf.h).
SHF_RELA_LIVEPATCH = 1 << 20
STB_LOCAL, STB_WEAK = 0, 2
STT_FUNC, STT_SECTION, STT_FILE = 2, 3, 4

_SECTIONS = struct.Struct("<40xQ10xHH")  # of Elf64_Ehdr: where headers of sections are, how many
_SECTION = struct.Struct("<4xI16xQQI")  # of Elf64_Shdr: type, offset, size, link
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")
_DAMAGED = "the file is damaged, copy or extract it again"
_LONGEST_NAME = 512
_ENDINGS = (".gz", ".xz", ".zst", ".ko")


def module_name(file: str) -> str:
    """The name of the module in a file: ``virtio-rng.ko.xz`` holds ``virtio_rng``."""
    name = file.rpartition("/")[2]
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name.replace("-", "_")


class Relocation(NamedTuple):
    """One ``Elf64_Rela``: ``offset`` in the section that it changes."""

    offset: int
    type: int
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True, repr=False)
class ModuleSymbol(HexRepr):
    """One ``Elf64_Sym``; ``section`` is its number, with the reserved ones of the gABI.

    Those of a live patch are in SHN_LIVEPATCH: livepatch resolves them, not the loader of modules.
    """

    name: str
    value: int
    size: int
    kind: int
    binding: int
    section: int

    @property
    def is_undefined(self) -> bool:
        """Whether somebody else must define it."""
        return self.section == SHN_UNDEF

    @property
    def is_weak(self) -> bool:
        """Whether nobody has to."""
        return self.binding == STB_WEAK


class ModuleFile:
    """The module in ``data``; raises :class:`ImageError` for anything else.

    ``data`` is the unpacked file, ``name`` the module's name, ``arch`` "x86_64" or "arm64",
    ``vermagic`` says for which kernel it was built, ``depends`` names the modules that it needs.
    """

    def __init__(self, path: Path, data: Buffer) -> None:
        self.path = path
        self._elf = elf = Elf(path, _unpacked(path, data), relocatable=True)
        self.data = elf.data
        self.arch = elf.arch
        self.sections = elf.sections
        size = sum(section.size for section in self.sections if section.is_alloc)
        if size > MAX_MODULE_SIZE:
            raise ImageError(path, f"wants {size} bytes of memory, no module does; {_DAMAGED}")
        info = elf.section(".modinfo")
        if info is None or elf.section(".gnu.linkonce.this_module") is None:
            raise ImageError(
                path, "is an object file, but no module: it has no .modinfo; name a .ko"
            )
        pairs = [text.partition(b"=") for text in elf.contents(info).split(b"\0") if text]
        self._info = {
            key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for key, _, value in reversed(pairs)
        }
        self.name = self._info.get("name") or module_name(path.name)
        self.vermagic = self._info.get("vermagic", "")
        needed = self._info.get("depends", "").split(",")
        self.depends = tuple(name.strip().replace("-", "_") for name in needed if name.strip())

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return self._elf.section(name)

    def contents(self, section: Section) -> bytes:
        """The section's bytes as the file has them; zeroes for one without any."""
        if section.type == SHT_NOBITS:
            return bytes(section.size)
        return self._elf.contents(section)

    @cached_property
    def symbols(self) -> tuple[ModuleSymbol, ...]:
        """The symbol table; relocations count in it."""
        table = next((s for s in self.sections if s.type == SHT_SYMTAB), None)
        if table is None or table.size % _SYMBOL.size or table.link >= len(self.sections):
            raise ImageError(self.path, f"has no sound symbol table; {_DAMAGED}")
        strings = self._elf.contents(self.sections[table.link])
        symbols = []
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(self._elf.contents(table)):
            end = strings.find(b"\0", name, name + _LONGEST_NAME)
            text = strings[name : end if end >= 0 else name].decode("utf-8", "replace")
            # GCC's link-time optimiser leaves common symbols that mean nothing.
            common = section == SHN_COMMON and not text.startswith("__gnu_lto")
            if common or len(self.sections) <= section < SHN_LORESERVE:
                raise ImageError(
                    self.path, f"has {text!r} in no section ({section:#x}); {_DAMAGED}"
                )
            symbols.append(ModuleSymbol(text, value, size, info & 15, info >> 4, section))
        return tuple(symbols)

    def functions(self) -> Iterator[str]:
        """The names of its functions, some of them twice."""
        for symbol in self.symbols:
            if symbol.kind == STT_FUNC and not symbol.is_undefined:
                yield symbol.name

    def relocations(self) -> Iterator[tuple[Section, Iterator[Relocation]]]:
        """For each section in memory that has some: it, and what is to be done to it."""
        for section in self.sections:
            if section.type != SHT_RELA or section.info >= len(self.sections):
                continue
            target = self.sections[section.info]
            if target.is_alloc and not section.flags & SHF_RELA_LIVEPATCH:
                yield target, self._entries(section)

    def _entries(self, section: Section) -> Iterator[Relocation]:
        table = self._elf.contents(section)
        if len(table) % _RELA.size:
            raise ImageError(self.path, f"its {section.name} ends in an entry; {_DAMAGED}")
        for offset, info, addend in _RELA.iter_unpack(table):
            symbol = info >> 32
            if symbol >= len(self.symbols):
                raise ImageError(self.path, f"its {section.name} names no symbol; {_DAMAGED}")
            yield Relocation(offset, info & 0xFFFF_FFFF, symbol, addend)


def read_module(path: Path) -> ModuleFile:
    """The module in the file ``path``; raises :class:`ImageError`."""
    return ModuleFile(path, read_packed(path))


def read_packed(path: Path) -> Buffer:
    """The bytes of the file ``path``, packed or not; raises :class:`ImageError`."""
    return read_file(path, MAX_MODULE_SIZE, "a module (.ko)")


def function_table(path: Path, data: Buffer) -> list[tuple[bytes, int]]:
    """Name and size of each function in a module, packed or not; nothing else of it is looked at.

    Raises:
        ImageError: It is no module, or damaged.
    """
    code = bytes(_unpacked(path, data)[:])
    at, size, count = _SECTIONS.unpack_from(code.ljust(_SECTIONS.size, b"\0"))
    if at + size * count + _SECTION.size > len(code) + size:
        raise ImageError(path, f"has no section headers; {_DAMAGED}")
    headers = [_SECTION.unpack_from(code, at + size * i) for i in range(count)]
    table = next((header for header in headers if header[0] == SHT_SYMTAB), None)
    if table is None or table[2] % _SYMBOL.size or table[3] >= count:
        raise ImageError(path, f"has no sound symbol table; {_DAMAGED}")
    _, start, length, link = table
    _, strings_at, strings_length, _ = headers[link]
    if max(start + length, strings_at + strings_length) > len(code):
        raise ImageError(path, f"ends within its symbol table; {_DAMAGED}")
    strings = code[strings_at : strings_at + strings_length]
    end = strings.find
    return [
        (strings[name : end(b"\0", name)], size)
        for name, info, _, section, _, size in _SYMBOL.iter_unpack(code[start : start + length])
        if info & 15 == STT_FUNC and section
    ]


def _unpacked(path: Path, data: Buffer) -> Buffer:
    head = bytes(data[:16])
    if head.startswith(ELF_MAGIC):
        return data
    kind = compression_of(head)
    if kind is None:
        raise ImageError(path, f"is no kernel module: it starts with {head[:8].hex(' ')}")
    try:
        unpacked = decompress(Packed(kind, data), MAX_MODULE_SIZE)
    except CompressionError as error:
        raise ImageError(path, f"{error}; {_DAMAGED}") from error
    if not unpacked.startswith(ELF_MAGIC):
        raise ImageError(path, "holds no kernel module")
    return unpacked
