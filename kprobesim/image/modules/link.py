"""Linking a module: its sections get addresses, its symbols values, its relocations are applied.

Facts: kernel/module/main.c (simplify_symbols(), apply_relocations()) and
arch/arm64/kernel/module-plts.c, 6.1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from kprobesim.arch.architecture import halves
from kprobesim.errors import ImageError
from kprobesim.image.elf import Section
from kprobesim.image.modules.file import SHN_ABS, ModuleFile, ModuleSymbol, Relocation
from kprobesim.image.modules.layout import PERCPU, Area, Layout, lay_out
from kprobesim.image.modules.module_image import ModuleImage, ModulePart, PlacedSymbol
from kprobesim.image.modules.relocations import FAR_BRANCHES, RelocationError, relocate
from kprobesim.image.segment import Segment
from kprobesim.sizes import MASK64

__all__ = ["Linker"]

_VENEER = 12
_BRANCH_REACH = 128 << 20
_MISSING_SHOWN = 8
# ignore_undef_symbol() (5.11): GNU as before 2.37 names it in x86 code that needs none.
_MAY_BE_MISSING = halves(x86_64=("_GLOBAL_OFFSET_TABLE_",), arm64=())
_ADR_PREL_PG_HI21, _ADD_ABS_LO12_NC = 275, 277


@dataclass
class _Part:
    """One part while it is being linked: its bytes at ``base``."""

    layout: Layout
    base: int
    data: bytearray
    veneers: dict[int, int]

    def area(self, kind: str) -> Area | None:
        return next((area for area in self.layout.areas if area.kind == kind), None)


class Linker:
    """Links one module. ``core_size`` and ``init_size`` are the bytes that it will take.

    ``percpu_size`` are those of its per-CPU variables.
    """

    def __init__(self, file: ModuleFile) -> None:
        self._file = file
        self._far_branches = FAR_BRANCHES[file.arch]
        room = {init: self._veneer_room(init) for init in (False, True)}
        self._layouts = {init: lay_out(file, init, room[init]) for init in (False, True)}
        self.core_size = self._layouts[False].size
        self.init_size = self._layouts[True].size
        percpu = file.section(PERCPU)
        self.percpu_size = percpu.size if percpu else 0

    def percpu_contents(self) -> bytes:
        """What the per-CPU variables begin with."""
        percpu = self._file.section(PERCPU)
        return self._file.contents(percpu) if percpu else b""

    def link(
        self,
        core: int,
        init: int,
        percpu: int,
        resolve: Callable[[str], int | None],
        outside: Callable[[int, int], bytes],
        banner: str,
    ) -> ModuleImage:
        """The module at the addresses ``core``, ``init`` and, of per-CPU variables, ``percpu``.

        ``resolve`` gives the address of what is exported, ``outside`` reads the kernel's memory,
        ``banner`` is the kernel's. Raises :class:`ImageError`.
        """
        parts = {
            is_init: self._part(self._layouts[is_init], base)
            for is_init, base in ((False, core), (True, init))
        }
        addresses = {
            number: parts[is_init].base + offset
            for is_init, layout in self._layouts.items()
            for number, offset in layout.places.items()
        }
        values = self._values(addresses, percpu, resolve)
        for section, entries in self._file.relocations():
            if section.index in addresses:
                part = parts[section.name.startswith(".init")]
                self._relocate(section, entries, addresses[section.index], part, values)
        placed = [
            PlacedSymbol(symbol, value, replace(section, addr=addresses[section.index]))
            for symbol, value in zip(self._file.symbols, values, strict=True)
            if symbol.name and symbol.section in addresses
            for section in (self._file.sections[symbol.section],)
        ]
        return ModuleImage(
            self._file.path,
            self._file.arch,
            self._file.name,
            banner,
            [self._linked(parts[is_init], is_init, addresses) for is_init in (False, True)],
            placed,
            outside,
        )

    def _part(self, layout: Layout, base: int) -> _Part:
        data = bytearray(layout.size)
        for number, offset in layout.places.items():
            contents = self._file.contents(self._file.sections[number])
            data[offset : offset + len(contents)] = contents
        return _Part(layout, base, data, {})

    def _values(
        self, addresses: dict[int, int], percpu: int, resolve: Callable[[str], int | None]
    ) -> list[int]:
        """The value of each symbol."""
        values, missing = [], []
        for number, symbol in enumerate(self._file.symbols):
            value: int | None = symbol.value
            if symbol.is_undefined and number:
                value = resolve(symbol.name)
                if value is None and not (symbol.is_weak or self._may_be_missing(symbol)):
                    missing.append(symbol.name)
            elif symbol.section in addresses:
                value = addresses[symbol.section] + symbol.value
            elif symbol.section != SHN_ABS and self._is_percpu(symbol):
                value = percpu + symbol.value
            values.append((value or 0) & MASK64)
        if missing:
            more = len(missing) - _MISSING_SHOWN
            names = ", ".join(missing[:_MISSING_SHOWN]) + (f" and {more} more" if more > 0 else "")
            raise ImageError(
                self._file.path,
                f"needs {names}, which neither the kernel nor a loaded module exports; "
                "is it built for this kernel, and what it depends on loaded?",
            )
        return values

    def _may_be_missing(self, symbol: ModuleSymbol) -> bool:
        return symbol.name in _MAY_BE_MISSING[self._file.arch]

    def _is_percpu(self, symbol: ModuleSymbol) -> bool:
        number, sections = symbol.section, self._file.sections
        return number < len(sections) and sections[number].name == PERCPU

    def _relocate(
        self,
        section: Section,
        entries: Iterable[Relocation],
        address: int,
        part: _Part,
        values: list[int],
    ) -> None:
        arch, base = self._file.arch, part.base
        for offset, kind, symbol, addend in entries:
            place, value = address + offset, values[symbol] + addend
            try:
                if not 0 <= offset < max(section.size, 1):
                    raise RelocationError("lies outside of its section")
                if kind in self._far_branches:
                    value = self._reachable(part, place, value)
                relocate(arch, kind, part.data, place - base, place, value)
            except RelocationError as error:
                name = self._file.symbols[symbol].name or "a section"
                raise ImageError(
                    self._file.path,
                    f"its relocation at {section.name}+{offset:#x} for {name} {error}",
                ) from None

    # Branches of ARM64 reach 128 MiB; beyond, they go by way of a veneer

    def _veneer_room(self, init: bool) -> int:
        """Bytes for as many veneers as there are places to branch to."""
        if not self._far_branches:
            return 0
        targets = {
            (entry.symbol, entry.addend)
            for section, entries in self._file.relocations()
            if section.name.startswith(".init") == init
            for entry in entries
            if entry.type in self._far_branches
            and self._file.symbols[entry.symbol].section != section.index
        }
        return len(targets) * _VENEER

    def _reachable(self, part: _Part, place: int, target: int) -> int:
        if -_BRANCH_REACH <= target - place < _BRANCH_REACH:
            return target
        area = part.area("text")
        known = part.veneers.get(target)
        if known is not None or area is None or area.veneers is None:
            return known or target
        at = area.veneers + _VENEER * len(part.veneers)
        address = part.veneers[target] = part.base + at
        # adrp x16, target; add x16, x16, #low; br x16
        struct.pack_into("<3I", part.data, at, 0x9000_0010, 0x9100_0210, 0xD61F_0200)
        relocate(self._file.arch, _ADR_PREL_PG_HI21, part.data, at, address, target)
        relocate(self._file.arch, _ADD_ABS_LO12_NC, part.data, at + 4, address + 4, target)
        return address

    def _linked(self, part: _Part, init: bool, addresses: dict[int, int]) -> ModulePart:
        segments = []
        for area in part.layout.areas:
            low = area.offset
            segments.append(
                Segment(
                    part.base + low,
                    0,
                    memoryview(bytes(part.data[low : low + area.used])),
                    area.size,
                    True,
                    area.kind in ("data", "ro_after_init"),
                    area.kind == "text",
                    area.kind,
                )
            )
        sections = tuple(
            replace(self._file.sections[number], addr=addresses[number])
            for number in part.layout.places
        )
        end = part.base + part.layout.size
        return ModulePart(part.base, end, init, tuple(segments), sections)
