"""Which pages must be executable."""

from __future__ import annotations

from kprobesim.image.elf import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, Section
from kprobesim.image.regions import code_ranges, make_regions, rodata_range
from kprobesim.image.segment import Segment

A, W, X = SHF_ALLOC, SHF_WRITE, SHF_EXECINSTR


def segment(start: int, end: int, *, writable: bool, executable: bool = True) -> Segment:
    return Segment(start, start, memoryview(b""), end - start, True, writable, executable, "")


def section(name: str, flags: int, start: int, end: int) -> Section:
    return Section(1, name, 1, flags, start, 0, end - start, 0)


class Names(dict[str, int]):
    def bounds(self, start: str, stop: str) -> tuple[int, int] | None:
        low, high = self.get(start), self.get(stop)
        return (low, high) if low is not None and high is not None and low <= high else None


def kinds(
    segments: list[Segment], sections: list[Section], names: Names, arch: str = "arm64"
) -> list[tuple[int, int, str]]:
    code = code_ranges(sections, segments, names.bounds)
    constants = rodata_range(arch, names.bounds)
    core = names.bounds("_stext", "_etext")
    fixed = [pair for pair in (constants, core) if pair]
    regions = make_regions(segments, sections, code, fixed)
    return [(region.start, region.end, region.kind) for region in regions]


def test_one_segment_for_all_with_sections() -> None:
    assert kinds(
        [segment(0x10000, 0x20800, writable=True)],
        [
            section(".text", A | X, 0x10000, 0x12345),
            section(".rodata", A, 0x13000, 0x14000),
            section(".init.text", A | X, 0x15000, 0x15F00),
            section(".init.data", A | W, 0x15F00, 0x16000),
            section(".altinstructions", A, 0x16000, 0x16800),
            section(".exit.text", A | X, 0x16800, 0x17000),
            section(".data", A | W, 0x18000, 0x20000),
            section(".comment", 0, 0, 0x100),
        ],
        Names(),
    ) == [
        (0x10000, 0x13000, "text"),
        (0x13000, 0x14000, "rodata"),
        (0x14000, 0x15000, "data"),
        (0x15000, 0x16000, "mixed"),
        (0x16000, 0x17000, "text"),
        (0x17000, 0x21000, "data"),
    ]


def test_one_segment_for_all_with_symbols_only() -> None:
    names = Names(_text=0x10000, _stext=0x10800, _etext=0x13000, _sinittext=0x15000)
    names |= {"_einittext": 0x15F00}
    assert kinds([segment(0x10000, 0x20800, writable=True)], [], names) == [
        (0x10000, 0x13000, "text"),
        (0x13000, 0x15000, "rodata"),
        (0x15000, 0x16000, "mixed"),
        (0x16000, 0x21000, "data"),
    ]


def test_x86_has_data_between_constants_and_init() -> None:
    names = Names(_stext=0x10000, _etext=0x12000, _sinittext=0x18000, _einittext=0x19000)
    segments = [
        segment(0x10000, 0x14000, writable=False),
        segment(0x14000, 0x18000, writable=True, executable=False),
        segment(0x18000, 0x1B000, writable=True),
    ]
    assert kinds(segments, [], names, "x86_64") == [
        (0x10000, 0x12000, "text"),
        (0x12000, 0x14000, "rodata"),
        (0x14000, 0x18000, "data"),
        (0x18000, 0x19000, "text"),
        (0x19000, 0x1B000, "data"),
    ]


def test_writable_code_sections() -> None:
    # .rodata is marked writable in real kernels, .data executable in x86 ones since 6.16.
    names = Names(_sdata=0x14000, _edata=0x15800, __start_rodata=0x12000, __end_rodata=0x13000)
    segments = [
        segment(0x10000, 0x13000, writable=False),
        segment(0x14000, 0x16000, writable=True, executable=False),
    ]
    sections = [
        section(".text", A | X, 0x10000, 0x11800),
        section(".rodata", A | W, 0x12000, 0x13000),
        section(".data", A | W | X, 0x14000, 0x15800),
    ]
    assert kinds(segments, sections, names, "x86_64") == [
        (0x10000, 0x12000, "text"),
        (0x12000, 0x13000, "rodata"),
        (0x14000, 0x16000, "data"),
    ]


def test_without_symbols_and_sections_segments_tell() -> None:
    segments = [
        segment(0x10400, 0x12100, writable=False),
        segment(0x13000, 0x14001, writable=True, executable=False),
        segment(0x15000, 0x15001, writable=False, executable=False),
    ]
    assert kinds(segments, [], Names()) == [
        (0x10000, 0x13000, "text"),
        (0x13000, 0x15000, "data"),
        (0x15000, 0x16000, "rodata"),
    ]


def test_segments_that_share_a_page() -> None:
    segments = [
        segment(0x10000, 0x11800, writable=False),
        segment(0x11800, 0x12000, writable=True, executable=False),
    ]
    sections = [
        section(".text", A | X, 0x10000, 0x11800),
        section(".data", A | W, 0x11800, 0x12000),
    ]
    assert kinds(segments, sections, Names()) == [
        (0x10000, 0x11000, "text"),
        (0x11000, 0x12000, "mixed"),
    ]
