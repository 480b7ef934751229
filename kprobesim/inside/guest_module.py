"""``read_module``: a module that the guest has loaded, as an image read from its memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cached_property

from kprobesim.arch.architecture import halves
from kprobesim.arch.arm64.constants import BRK_KPROBE
from kprobesim.errors import GuestMemoryError
from kprobesim.image import KernelImage
from kprobesim.image.elf import Section
from kprobesim.image.modules.file import ModuleSymbol
from kprobesim.image.modules.module_image import (
    ModuleImage,
    ModulePart,
    ModuleState,
    PlacedSymbol,
)
from kprobesim.image.segment import Segment
from kprobesim.inside.module_layout import MemoryPart, ModuleLayout
from kprobesim.inside.module_loads import module_members, read_symbols
from kprobesim.inside.modules import GuestModule
from kprobesim.machine.memory import HostAccess
from kprobesim.patching.arm64.words import MOV_X9_LR

__all__ = ["read_module"]

_NEEDED = {"kallsyms", "symbols", "symbol_count", "strings"}
_WORD = 4  # bytes of an instruction of ARM64
_BEFORE_CALL = 4  # instructions at most: two in front of the function, and a BTI


class _RunningModule(ModuleImage):
    """Its code is what ftrace has made of it."""

    @cached_property
    def ftrace_sites(self) -> frozenset[int]:
        """Where ftrace patches the code."""
        return frozenset(
            place
            for site in self.mcount_sites
            if (place := _PATCHED[self.arch](site, self._read_code)) is not None
        )


def _arm64_patched(site: int, read: Callable[[int, int], bytes]) -> int | None:
    """Behind the MOV X9, LR that ftrace_init_nop() has written, or a kprobe of the guest on it."""
    code = read(site, _WORD * _BEFORE_CALL)
    words = [word for (word,) in struct.iter_unpack("<I", code)]
    for there in (MOV_X9_LR, BRK_KPROBE):
        if there in words:
            return site + _WORD * (words.index(there) + 1)
    return None


_PATCHED: Mapping[str, Callable[[int, Callable[[int, int], bytes]], int | None]] = halves(
    x86_64=lambda site, _read: site, arm64=_arm64_patched
)


def read_module(
    kernel: KernelImage, memory: HostAccess, layout: ModuleLayout, listed: GuestModule
) -> ModuleImage | None:
    """The module ``listed``; ``None`` if the kernel does not say how its structs look.

    Args:
        kernel: The kernel that has loaded it.
        memory: The guest's memory.
        layout: How its modules look.
        listed: What the guest's list says.
    """
    members = module_members(kernel)
    if not members.keys() >= _NEEDED:
        return None
    try:
        parts = [
            part
            for part in layout.parts(listed.struct)
            if not (part.init and listed.state is not ModuleState.COMING)
        ]
        tables = list(layout.tables(listed.struct))
        symbols = read_symbols(memory, listed.struct, members)
    except GuestMemoryError:
        return None
    made = [(part, _segment(part, layout.read(part)), _section(part)) for part in parts]
    placed = [
        PlacedSymbol(_symbol(name, address, size), address, section)
        for name, address, size in symbols
        for part, _, section in made
        if part.address <= address < part.address + part.size
    ]
    return _RunningModule(
        kernel.path,
        kernel.arch,
        listed.name,
        kernel.banner,
        [_part(*each, tables) for each in made],
        placed,
        memory.read,
    )


def _segment(part: MemoryPart, data: bytes) -> Segment:
    code, writable = part.name == "text", part.name in ("data", "ro_after_init")
    return Segment(part.address, 0, memoryview(data), len(data), True, writable, code, part.name)


def _section(part: MemoryPart) -> Section:
    """All of that part as one section: the guest does not keep where each began."""
    name = f".init.{part.name}" if part.init else f".{part.name}"
    return _made_section(name, part.flags, part.address, part.size)


def _made_section(name: str, flags: int, address: int, size: int) -> Section:
    return Section(0, name, 1, flags, address, 0, size, 0)


def _part(
    part: MemoryPart, segment: Segment, section: Section, tables: list[tuple[str, int, int]]
) -> ModulePart:
    end = part.address + part.size
    inside = [
        _made_section(name, part.flags, address, size)
        for name, address, size in tables
        if part.address <= address < end
    ]
    return ModulePart(part.address, end, part.init, (segment,), (section, *inside))


def _symbol(name: str, value: int, size: int) -> ModuleSymbol:
    return ModuleSymbol(name, value, size, 0, 0, 0)
