"""An ELF ``vmlinux`` becomes segments at the addresses where the kernel runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kprobesim.arch.architecture import halves
from kprobesim.errors import ImageError
from kprobesim.image.elf import (
    PF_R,
    PF_W,
    PF_X,
    SHF_ALLOC,
    SHT_NOBITS,
    SHT_RELA,
    Elf,
    ProgramHeader,
)
from kprobesim.image.files.rela import apply_rela, find_rela
from kprobesim.image.segment import Segment

__all__ = ["vmlinux_segments"]

_KERNEL_HALF = 1 << 63


_PERCPU_AT_0 = halves(x86_64=True, arm64=False)


def vmlinux_segments(elf: Elf) -> tuple[list[Segment], int | None]:
    """The segments of ``elf``, relocated, and where the per-CPU template was put, if moved.

    x86 links per-CPU data at address 0 (up to 6.14) and loads it at __per_cpu_load: that segment
    gets the address where its bytes are.

    Raises:
        ImageError: The file is damaged, or holds no code.
    """
    _check_code(elf)
    percpu = None
    segments = []
    for number, load in enumerate(elf.loads):
        vaddr = load.vaddr
        if vaddr == 0 and _PERCPU_AT_0[elf.arch]:
            percpu = vaddr = _percpu_address(elf.loads)
        segments.append(
            Segment(
                vaddr,
                load.paddr,
                elf.segment_bytes(load),
                load.memsz,
                bool(load.flags & PF_R),
                bool(load.flags & PF_W),
                bool(load.flags & PF_X),
                f"LOAD#{number}",
            )
        )
    return _FINISH[elf.arch](elf, segments), percpu or None


def _check_code(elf: Elf) -> None:
    """Refuse what is left of a vmlinux in a file of debug information (--only-keep-debug)."""
    code = [section for section in elf.sections if section.is_code and section.size]
    if code:
        missing = all(section.type == SHT_NOBITS for section in code)
    else:
        missing = not any(load.filesz for load in elf.loads)
    if missing:
        raise ImageError(
            elf.path,
            "holds debug information only, not the code that it is about; name the kernel image "
            "itself (vmlinuz, or the package of the same version), and this file as symbols= "
            "(--symbols)",
        )


def _percpu_address(loads: Sequence[ProgramHeader]) -> int:
    """Virtual address of the bytes of the segment at 0, from how the others are mapped."""
    zero = next(load for load in loads if load.vaddr == 0)
    for load in loads:
        if load.vaddr >= _KERNEL_HALF and zero.paddr:
            return zero.paddr + load.vaddr - load.paddr
    return 0


def _relocated(elf: Elf, segments: list[Segment]) -> list[Segment]:
    """The segments with private copies of those that .rela.dyn changes."""
    tables = [
        elf.contents(section)
        for section in elf.sections
        if section.type == SHT_RELA and section.flags & SHF_ALLOC
    ]
    if not elf.sections:
        start, end = min(s.vaddr for s in segments), max(s.end for s in segments)
        tables = [find_rela(segment.data, start, end) for segment in segments]
    ranges = [(segment.vaddr, segment.data) for segment in segments]
    try:
        for table in tables:
            ranges = apply_rela(ranges, table)
    except ValueError as error:
        raise ImageError(
            elf.path, f"has a {error}; the file is damaged, copy or extract it again"
        ) from None
    return [
        replace(segment, data=data) for segment, (_, data) in zip(segments, ranges, strict=True)
    ]


# (An x86-64 image that can be moved has its relocations behind the ELF file, for its own use.)
_FINISH = halves(x86_64=lambda _elf, segments: segments, arm64=_relocated)
