"""``ModuleImage``: a module at its address in the kernel's memory, an image of its own."""

from __future__ import annotations

import enum
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from kprobesim.arch.architecture import halves
from kprobesim.hexrepr import HexRepr
from kprobesim.image.elf import SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS, Section
from kprobesim.image.findings import Findings
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.modules.file import ModuleSymbol
from kprobesim.image.segment import ImageRegion, Segment
from kprobesim.image.symbols.table import Columns, Symbol, SymbolTable
from kprobesim.image.tables import places
from kprobesim.image.tables.exports import table_exports
from kprobesim.image.tables.patch_sites import PatchSites, ftrace_places, jump_label_sites
from kprobesim.late_dataclasses import dataclass

__all__ = ["ModuleImage", "ModulePart", "ModuleState", "PlacedSymbol"]

#: What is_arm_mapping_symbol() hides from lookups by address (include/linux/module_symbol.h, 6.1).
_HIDDEN = re.compile(r"\.L|\$[adtx](?:\.|$)")
_EXPORTS = ("__ksymtab", "__ksymtab_gpl")
_MCOUNT: Mapping[str, tuple[str, ...]] = halves(
    x86_64=("__mcount_loc",), arm64=("__mcount_loc", "__patchable_function_entries")
)


class ModuleState(enum.Enum):
    """``enum module_state``."""

    COMING = "coming"
    LIVE = "live"
    GOING = "going"


@dataclass(frozen=True, repr=False)
class ModulePart(HexRepr):
    """What stays or, ``init``, what is freed: segments named after their kind, and sections."""

    start: int
    end: int
    init: bool
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, repr=False)
class PlacedSymbol(HexRepr):
    """A symbol of the module's table with its ``address``; ``place`` is its section."""

    symbol: ModuleSymbol
    address: int
    place: Section


class ModuleImage(KernelImage):
    """The module ``name``; its tables are found by its sections.

    ``outside`` reads what is not the module's: its tables lead into the kernel.
    """

    def __init__(
        self,
        path: Path,
        arch: str,
        name: str,
        banner: str,
        parts: Sequence[ModulePart],
        symbols: Sequence[PlacedSymbol],
        outside: Callable[[int, int], bytes],
    ) -> None:
        self.name = name
        self.parts = tuple(part for part in parts if part.end > part.start)
        self._placed = [s for s in symbols if any(_holds(part, s.address) for part in self.parts)]
        self._outside = outside
        super().__init__(
            path,
            arch,
            "kernel module",
            self.parts[0].start if self.parts else 0,
            [segment for part in self.parts for segment in part.segments],
            section_headers=[section for part in self.parts for section in part.sections],
            read_columns=lambda _: (self._columns(), ".symtab"),
            banner=banner,
        )

    def without_init(self) -> ModuleImage:
        """The same when its init part has been freed."""
        parts = [part for part in self.parts if not part.init]
        where = self.path, self.arch, self.name, self.banner
        return type(self)(*where, parts, self._placed, self._outside)

    # Memory

    def holds(self, address: int) -> bool:
        """Whether ``address`` is in the module."""
        return any(_holds(part, address) for part in self.parts)

    def read(self, vaddr: int, size: int) -> bytes:
        """``size`` bytes as loaded; of the kernel if that is what ``vaddr`` is in."""
        return super().read(vaddr, size) if self.holds(vaddr) else self._outside(vaddr, size)

    @cached_property
    def regions(self) -> tuple[ImageRegion, ...]:
        """Its pages: each segment has pages of its own."""
        kinds = {"text": "text", "rodata": "rodata"}
        return tuple(ImageRegion(s.vaddr, s.end, kinds.get(s.name, "data")) for s in self.segments)

    @cached_property
    def text_ranges(self) -> tuple[tuple[int, int], ...]:
        """The code that stays."""
        return self._text(init=False)

    @cached_property
    def init_text(self) -> tuple[int, int] | None:
        """The code that is freed; ``None`` if there is none, or it has been."""
        return next(iter(self._text(init=True)), None)

    @cached_property
    def init(self) -> tuple[int, int] | None:
        """All that is freed; ``None`` if it has been."""
        return next(((part.start, part.end) for part in self.parts if part.init), None)

    def _text(self, *, init: bool) -> tuple[tuple[int, int], ...]:
        return tuple(
            (segment.vaddr, segment.vaddr + len(segment.data))
            for part in self.parts
            if part.init is init
            for segment in part.segments
            if segment.executable
        )

    def is_kernel_text(self, address: int) -> bool:
        """Whether ``address`` is in its code, that of init counted (is_module_text_address())."""
        return any(
            start <= address < end
            for start, end in (*self._text(init=False), *self._text(init=True))
        )

    def section_range(self, name: str) -> tuple[int, int] | None:
        """Where a section lies; ``None`` if the module has none of that name."""
        found = self.sections.get(name)
        return None if found is None else (found[0], found[0] + found[1])

    # Tables

    def table(self, start: str, stop: str, section: str) -> tuple[int, bytes]:
        """A section; none when the module does not have it."""
        address, size = self.sections.get(section, (0, 0))
        return address, self.read(address, size) if size else b""

    @cached_property
    def mcount_sites(self) -> Sequence[int]:
        """Addresses of the calls or nops that ftrace patches; those of freed code have gone."""
        names = _MCOUNT[self.arch]
        return [
            site
            for section in self.section_headers  # one for each section of code
            if section.name in names
            for site in places.addresses(self.read(section.addr, section.size))
            if self.holds(site)
        ]

    @cached_property
    def ftrace_sites(self) -> frozenset[int]:
        """Where ftrace patches the code."""
        return ftrace_places(self.arch, self.mcount_sites, self._read_code, Findings())

    @cached_property
    def jump_labels(self) -> PatchSites:
        """The bytes of all jump labels."""
        return jump_label_sites(self.arch, *self.jump_table, self._read_code)

    def _read_code(self, address: int, size: int) -> bytes:
        """What the module has there, and zeroes where it has nothing."""
        for segment in self.segments:
            if address in segment:
                at = address - segment.vaddr
                return bytes(segment.data[at : at + size]).ljust(size, b"\0")
        return bytes(size)

    @cached_property
    def exports(self) -> Mapping[str, int]:
        """The symbols that other modules may use."""
        found: dict[str, int] = {}
        for section in _EXPORTS:
            start, table = self.table("", "", section)
            found |= table_exports(start, table, self.read_string)
        return found

    # Names

    @cached_property
    def symbols(self) -> SymbolTable:
        """What it names."""
        extents = sorted(
            (segment.vaddr, segment.vaddr + len(segment.data)) for segment in self.segments
        )
        columns = self._columns()
        return SymbolTable(columns, extents=extents, source=".symtab", module=self.name)

    def named(self, name: str) -> list[Symbol]:
        """All that the module calls ``name``, in the order of its symbol table.

        Mapping symbols and the assembler's labels too, which no address is called by.
        """
        found: dict[int, Symbol] = {}
        for placed in self._placed:
            if placed.symbol.name == name:
                letter, code = self._letter(placed), bool(placed.place.flags & SHF_EXECINSTR)
                symbol = Symbol(
                    name, placed.address, placed.symbol.size, letter, code, module=self.name
                )
                found.setdefault(placed.address, symbol)
        return list(found.values())

    def _letter(self, placed: PlacedSymbol) -> str:
        """As in /proc/kallsyms, which shows none of a module as global."""
        flags = placed.place.flags
        letter = "d" if flags & SHF_WRITE else "r"
        if flags & SHF_EXECINSTR:
            letter = "t"
        elif placed.place.type == SHT_NOBITS:
            letter = "b"
        return letter

    def _columns(self) -> Columns:
        """In the order in which find_kallsyms_symbol() prefers them: the table's."""
        shown = sorted(
            (p for p in self._placed if not _HIDDEN.match(p.symbol.name)), key=lambda p: p.address
        )
        return Columns(
            [p.symbol.name.encode("utf-8", "surrogateescape") for p in shown],
            array("Q", [p.address for p in shown]),
            array("Q", [p.symbol.size for p in shown]),
            "".join(map(self._letter, shown)).encode(),
            ordered=True,
        )


def _holds(part: ModulePart, address: int) -> bool:
    return part.start <= address < part.end
