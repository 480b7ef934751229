"""Which pages of an image hold code: kernels' segments are too coarse to tell.

ARM64 has one segment that is readable, writable and executable; x86 has one for everything that is
freed after init. Sections tell exactly; without them, the symbols that bound code do.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

from kprobesim.arch.architecture import halves
from kprobesim.image.elf import SHF_WRITE, Section
from kprobesim.image.ranges import Range, Ranges
from kprobesim.image.segment import ImageRegion, Segment
from kprobesim.sizes import PAGE

__all__ = ["CODE_BOUNDS", "code_ranges", "make_regions", "rodata_range"]

Bounds = Callable[[str, str], Range | None]

#: Pairs of symbols of vmlinux.lds.S around code (x86 and ARM64, 5.10 to 6.17).
CODE_BOUNDS = (
    ("_text", "_stext"),
    ("_stext", "_etext"),
    ("_sinittext", "_einittext"),
    ("__exittext_begin", "__exittext_end"),
    ("__entry_tramp_text_start", "__entry_tramp_text_end"),
    ("__idmap_text_start", "__idmap_text_end"),
    ("__hyp_idmap_text_start", "__hyp_idmap_text_end"),
    ("__hibernate_exit_text_start", "__hibernate_exit_text_end"),
    ("__relocate_new_kernel_start", "__relocate_new_kernel_end"),
    ("__alt_instructions_end", "__altinstr_replacement_end"),
)


def code_ranges(sections: Sequence[Section], segments: Sequence[Segment], bounds: Bounds) -> Ranges:
    """Ranges of code, not page-granular: from sections, else from symbols, else from segments."""
    found = [(s.addr, s.addr + s.size) for s in sections if s.is_code and s.size]
    # x86 since 6.16 marks .data executable; the kernel itself never maps it so.
    data = bounds("_sdata", "_edata")
    if data:
        found = [pair for pair in found if pair[1] <= data[0] or data[1] <= pair[0]]
    if not found:
        found = [pair for names in CODE_BOUNDS if (pair := bounds(*names)) and pair[0] < pair[1]]
    if not found:
        found = [(segment.vaddr, segment.end) for segment in segments if segment.executable]
    return Ranges(found)


def rodata_range(arch: str, bounds: Bounds) -> Range | None:
    """What the kernel write-protects after init: from __start_rodata to the end of constants."""
    found = (bounds(*names) for names in _RODATA[arch])
    return next(filter(None, found), None)


# ARM64 has nothing but constants between its text and that of init (mark_rodata_ro, 6.12); x86 has
# its data there.
_RODATA: Mapping[str, tuple[tuple[str, str], ...]] = halves(
    x86_64=(("__start_rodata", "__end_rodata"),),
    arm64=(("__start_rodata", "__end_rodata"), ("_etext", "_sinittext")),
)


def make_regions(
    segments: Sequence[Segment],
    sections: Sequence[Section],
    code: Ranges,
    fixed: Sequence[Range],
) -> tuple[ImageRegion, ...]:
    """Cover all pages of ``segments`` with sorted regions; neighbours differ in kind.

    ``fixed`` are ranges that the kernel write-protects.
    """
    constant = [(s.addr, s.addr + s.size) for s in sections if s.is_alloc and not _may_write(s)]
    constant += fixed
    if sections:
        stored = [(s.addr, s.addr + s.size) for s in sections if s.is_alloc and _may_write(s)]
        writable = [part for whole in stored for part in _subtract(whole, fixed)]
    else:
        writable = [part for s in segments for part in _subtract((s.vaddr, s.end), [*code, *fixed])]
    writable = [
        (max(low, s.vaddr), min(high, s.end))
        for s in segments
        if s.writable
        for low, high in writable
        if low < s.end and high > s.vaddr
    ]
    cuts = sorted(
        {round_(edge) for r in (*code, *writable, *constant) for edge in r for round_ in _ROUND}
    )
    writable_ranges, constant_ranges = Ranges(writable), Ranges(constant)
    regions: list[ImageRegion] = []
    for segment in sorted(segments, key=lambda segment: segment.vaddr):
        start, end = _floor(segment.vaddr), _ceil(segment.end)
        if regions:
            start = max(start, regions[-1].end)
        edges = [start, *cuts[bisect_right(cuts, start) : bisect_left(cuts, end)], end]
        for low, high in itertools.pairwise(edges):
            if low >= high:
                continue
            holds_data = writable_ranges.overlaps(low, high)
            if code.overlaps(low, high):
                kind = "mixed" if holds_data else "text"
            elif holds_data or (segment.writable and not constant_ranges.overlaps(low, high)):
                kind = "data"
            else:
                kind = "rodata"
            last = regions[-1] if regions else None
            if last and last.end == low and last.kind == kind:
                regions[-1] = ImageRegion(last.start, high, kind)
            else:
                regions.append(ImageRegion(low, high, kind))
    return tuple(regions)


def _may_write(section: Section) -> bool:
    return bool(section.flags & SHF_WRITE)


def _subtract(whole: Range, parts: Iterable[Range]) -> list[Range]:
    rest = []
    at, end = whole
    for low, high in sorted(parts):
        if high <= at or low >= end:
            continue
        if low > at:
            rest.append((at, low))
        at = max(at, high)
    if at < end:
        rest.append((at, end))
    return rest


def _floor(address: int) -> int:
    return address & -PAGE


def _ceil(address: int) -> int:
    return -(-address // PAGE) * PAGE


_ROUND = (_floor, _ceil)
