"""Where the sections of a module lie in memory: ``layout_sections()``, kernel/module/main.c (6.1).

Code first, then constants, what is constant after init, and data, each from a page of its own on;
once for what stays and once for ``.init``, which is freed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kprobesim.image.elf import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, Section
from kprobesim.image.modules.file import ModuleFile
from kprobesim.sizes import PAGE

__all__ = ["PERCPU", "Area", "Layout", "lay_out"]

PERCPU = ".data..percpu"

#: Read by the loader, and left out.
_NOT_LOADED = (".modinfo", "__versions", "__version_ext_crcs", "__version_ext_names", PERCPU)
_CONSTANT_AFTER_INIT = (".data..ro_after_init", "__jump_table")
#: Sections that ARM64's loader fills: the veneers of far branches (arch/arm64/include/asm/module.h)
_PLT = {False: ".plt", True: ".init.plt"}
_CODE, _CONSTANT, _AFTER_INIT, _DATA = range(4)
_KINDS = ("text", "rodata", "ro_after_init", "data")
_VENEER_ALIGN = 64


@dataclass
class Area:
    """Pages of one kind: "text", "rodata", "ro_after_init" or "data".

    ``offset`` and ``size`` are in the part, ``used`` are the bytes that sections fill, ``veneers``
    is where in the area those lie.
    """

    kind: str
    offset: int
    size: int
    used: int
    veneers: int | None = None


@dataclass
class Layout:
    """One part, ``init`` or core: ``places`` tells the offset of each section by its number."""

    init: bool
    size: int = 0
    areas: list[Area] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)


def lay_out(file: ModuleFile, init: bool, veneers: int) -> Layout:
    """The layout of one part, with room for ``veneers`` bytes of them."""
    layout = Layout(init)
    for kind in range(4):
        start = at = layout.size
        place = None
        for section in file.sections:
            if _kind(section) != kind or section.name.startswith(".init") != init:
                continue
            at = _aligned(at, section.align)
            layout.places[section.index] = at
            at += section.size
            if veneers and section.name == _PLT[init]:
                place, at = _aligned(at, _VENEER_ALIGN), _aligned(at, _VENEER_ALIGN) + veneers
        if veneers and kind == _CODE and place is None:
            place, at = _aligned(at, _VENEER_ALIGN), _aligned(at, _VENEER_ALIGN) + veneers
        if at > start:
            end = _aligned(at, PAGE)
            layout.areas.append(Area(_KINDS[kind], start, end - start, at - start, place))
            layout.size = end
    return layout


def _kind(section: Section) -> int | None:
    """Which area it belongs to; ``None``: it is not loaded."""
    flags = section.flags
    if not flags & SHF_ALLOC or section.name in _NOT_LOADED:
        return None
    if flags & SHF_EXECINSTR or section.name in _PLT.values():
        return _CODE
    if section.name in _CONSTANT_AFTER_INIT:
        return _AFTER_INIT
    return _DATA if flags & SHF_WRITE else _CONSTANT


def _aligned(value: int, align: int) -> int:
    align = min(align, PAGE) if align & (align - 1) == 0 else 1
    return -(-value // max(align, 1)) * max(align, 1)
