"""An ELF ``vmlinux`` becomes segments at the addresses where the kernel runs."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.errors import ImageError
from kprobesim.image.elf import PF_R, PF_W, PF_X, SHF_ALLOC, SHT_RELA, Elf, ProgramHeader
from kprobesim.image.relocate import RELA_SIZE, apply_rela
from kprobesim.image.segment import Segment

__all__ = ["vmlinux_segments"]

_KERNEL_HALF = 1 << 63


def vmlinux_segments(elf: Elf) -> tuple[list[Segment], int | None]:
    """The segments of ``elf``, relocated, and where the per-CPU template was put, if moved.

    x86 links per-CPU data at address 0 (up to 6.14) and loads it at __per_cpu_load: that segment
    gets the address where its bytes are.
    """
    tables = [
        elf.contents(section)
        for section in elf.sections
        if section.type == SHT_RELA and section.flags & SHF_ALLOC and elf.arch == "arm64"
    ]
    percpu = None
    segments = []
    with memoryview(elf.data) as file:
        for number, load in enumerate(elf.loads):
            vaddr = load.vaddr
            if vaddr == 0 and elf.arch == "x86_64":
                percpu = vaddr = _percpu_address(elf.loads)
            data = file[load.offset : load.offset + load.filesz]
            if any(tables):
                data = _relocated(elf, data, vaddr, tables)
            segments.append(
                Segment(
                    vaddr,
                    load.paddr,
                    data,
                    load.memsz,
                    bool(load.flags & PF_R),
                    bool(load.flags & PF_W),
                    bool(load.flags & PF_X),
                    f"LOAD#{number}",
                )
            )
    return segments, percpu or None


def _percpu_address(loads: Sequence[ProgramHeader]) -> int:
    """Virtual address of the bytes of the segment at 0, from how the others are mapped."""
    zero = next(load for load in loads if load.vaddr == 0)
    for load in loads:
        if load.vaddr >= _KERNEL_HALF and zero.paddr:
            return zero.paddr + load.vaddr - load.paddr
    return 0


def _relocated(elf: Elf, data: memoryview, base: int, tables: Sequence[bytes]) -> memoryview:
    private = bytearray(data)
    for table in tables:
        if len(table) % RELA_SIZE:
            raise ImageError(elf.path, "has a damaged relocation table; copy or extract it again")
        try:
            apply_rela(private, base, table)
        except ValueError as error:
            raise ImageError(
                elf.path, f"has a {error}; the file is damaged, copy or extract it again"
            ) from None
    return memoryview(private).toreadonly()
