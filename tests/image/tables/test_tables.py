"""The kernel's tables, read in the layout that they show."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from makers.elf_maker import NOTYPE, TEXT, Sym, small_kernel

from kprobesim.image import BugTable, ExceptionEntry, ExceptionTable, load_image
from kprobesim.image.tables.places import addresses

CODE = range(0x10000, 0x20000)
TABLE = 0x40000


def is_code(address: int) -> bool:
    return address in CODE


def distances(*records: tuple[tuple[int, ...], bytes]) -> bytes:
    """Records of self-relative words with other bytes after them."""
    out = b""
    for targets, rest in records:
        for target in targets:
            out += struct.pack("<i", target - (TABLE + len(out)))
        out += rest
    return out


def test_x86_with_types() -> None:
    raw = [(0x10010, 0x10100, 3), (0x10020, 0x10200, -0x1A_0000 | 17), (0x10030, 0x10300, 8)]
    table = ExceptionTable(
        "x86_64",
        TABLE,
        distances(*(((a, b), struct.pack("<i", d)) for a, b, d in raw)),
        is_code,
    )
    assert len(table) == 3
    assert table.confidence == 1.0
    assert table.search(0x10010) == ExceptionEntry(0x10010, 0x10100, 3, 3)
    second = table.search(0x10020)
    assert second is not None
    assert (second.type, second.data) == (0xFF & raw[1][2], raw[1][2])
    assert table.search(0x10011) is None
    assert table.search(0x10000) is None
    assert table.search(0x20000) is None


def test_x86_with_handlers() -> None:
    raw = [(0x10010, 0x10100, 0x18000), (0x10020, 0x10200, 0x18040)]
    table = ExceptionTable("x86_64", TABLE, distances(*((row, b"") for row in raw)), is_code)
    assert list(table) == [
        ExceptionEntry(0x10010, 0x10100, handler=0x18000),
        ExceptionEntry(0x10020, 0x10200, handler=0x18040),
    ]


def test_arm64_with_types() -> None:
    data = struct.pack("<HH", 2, 31 << 5 | 4)
    rows = [((0x10000 + 16 * i, 0x11000 + 4 * i), data) for i in range(6)]
    table = ExceptionTable("arm64", TABLE, distances(*rows), is_code)
    assert next(iter(table)) == ExceptionEntry(0x10000, 0x11000, 2, 31 << 5 | 4)
    assert len(table) == 6


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_without_types(arch: str, count: int) -> None:
    rows = [((0x10000 + 16 * i, 0x11000 + 4 * i), b"") for i in range(count)]
    table = ExceptionTable(arch, TABLE, distances(*rows), is_code)
    assert list(table) == [ExceptionEntry(a, b) for (a, b), _ in rows]


def test_a_table_that_is_not_sorted_is_searched_all_the_same() -> None:
    data = struct.pack("<HH", 2, 0)
    rows = [((0x10000 + 16 * (7 - i), 0x11000), data) for i in range(8)]
    table = ExceptionTable("arm64", TABLE, distances(*rows), is_code)
    assert all(table.search(0x10000 + 16 * i) for i in range(8))


@pytest.mark.parametrize("raw", [b"", b"x" * 7, bytes(24), b"\xff" * 48])
def test_no_exception_table(raw: bytes) -> None:
    table = ExceptionTable("x86_64", TABLE, raw, is_code)
    assert len(table) == 0
    assert table.search(0x10000) is None


STRINGS = {0x50000: "kernel/fork.c", 0x50010: "mm/slub.c"}


@pytest.mark.parametrize(
    ("make", "file", "line"),
    [
        (lambda trap, file: ((trap, file), struct.pack("<HH", 77, 0x901)), "mm/slub.c", 77),
        (lambda trap, _file: ((trap,), struct.pack("<HH", 0x901, 0)), None, 0),
        (
            lambda trap, file: ((trap, 0x50100, file), struct.pack("<HH", 77, 0x901)),
            "mm/slub.c",
            77,
        ),
    ],
    ids=["verbose", "plain", "with a format"],
)
@pytest.mark.parametrize("count", [1, 2, 3, 600])
def test_bug_table(
    make: Callable[[int, int], tuple[tuple[int, ...], bytes]],
    file: str | None,
    line: int,
    count: int,
) -> None:
    traps = {0x10000 + 8 * i for i in range(count)}
    raw = distances(*(make(trap, 0x50010) for trap in sorted(traps, reverse=True)))
    table = BugTable(TABLE, raw, traps.__contains__, STRINGS.get)
    assert len(table) == count
    entry = table.at(0x10000)
    assert entry is not None
    assert (entry.addr, entry.file, entry.line, entry.flags) == (0x10000, file, line, 0x901)
    assert entry.is_warning
    assert 0x10000 in table
    assert table.at(0x10004) is None
    assert {entry.addr for entry in table} == traps
    assert table.record(TABLE + len(raw) - len(raw) // count) == entry
    assert table.record(TABLE + 4) is None


def test_bug_table_before_6_0_counts_from_the_entry() -> None:
    traps = range(0x10000, 0x10050, 8)
    raw = b"".join(
        struct.pack("<iiHH", trap - where, 0x50001 - where, 77, 0)
        for trap, where in zip(traps, range(TABLE, TABLE + 120, 12), strict=True)
    )
    rodata = b"\0lib/refcount.c\0"

    def text(address: int) -> str | None:
        at = address - 0x50000
        return rodata[at:].split(b"\0")[0].decode() if 0 <= at < len(rodata) else None

    table = BugTable(TABLE, raw, traps.__contains__, text)
    assert {entry.file for entry in table} == {"lib/refcount.c"}
    assert table.record(TABLE + 12) == table.at(0x10008)
    assert table.record(TABLE + 13) is None


def test_bugs_and_warnings() -> None:
    raw = distances(
        ((0x10000, 0x50000), struct.pack("<HH", 1, 0)),
        ((0x10008, 0x50000), struct.pack("<HH", 2, 3)),
    )
    table = BugTable(TABLE, raw, {0x10000, 0x10008}.__contains__, STRINGS.get)
    assert [(e.file, e.line, e.is_warning) for e in table] == [
        ("kernel/fork.c", 1, False),
        ("kernel/fork.c", 2, True),
    ]


def test_addresses() -> None:
    assert list(addresses(struct.pack("<4Q", 5, 0, 1 << 63, 7))) == [5, 1 << 63, 7]
    assert list(addresses(b"1234567")) == []


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_from_an_image(tmp_path: Path, arch: str) -> None:
    maker = small_kernel(arch)
    base = TEXT[arch]
    assert maker.symbols is not None
    trap = b"\x0f\x0b" if arch == "x86_64" else b"\x00\x00\x21\xd4"
    first = bytearray(maker.loads[0].data)
    first[0x100 : 0x100 + len(trap)] = trap
    bug_at = 0x2A00
    struct.pack_into("<iiHH", first, bug_at, 0x100 - bug_at, 0x2B00 - bug_at - 4, 9, 1)
    first[0x2B00:0x2B08] = b"mm/x.c\0\0"
    struct.pack_into("<3Q", first, 0x2C00, base, base + 0x40, 0)
    maker.loads[0].data = bytes(first)
    for name, start, stop in [
        ("__bug_table", bug_at, bug_at + 12),
        ("mcount_loc", 0x2C00, 0x2C18),
        ("kprobe_blacklist", 0x2C08, 0x2C10),
    ]:
        maker.symbols += [
            Sym("__start_" + name, base + start, 0, NOTYPE, section=".rodata"),
            Sym("__stop_" + name, base + stop, 0, NOTYPE, section=".rodata"),
        ]
    path = tmp_path / "vmlinux"
    path.write_bytes(maker.build())
    image = load_image(path)
    bug = image.bug_table.at(base + 0x100)
    assert bug is not None
    assert (bug.file, bug.line, bug.is_warning) == ("mm/x.c", 9, True)
    assert list(image.mcount_sites) == [base, base + 0x40]
    assert list(image.kprobe_blacklist) == [base + 0x40]
    entry = image.exception_table.search(base + 0x10)
    assert entry is not None
    assert (entry.fixup, entry.type) == (base + 0x40, 3)


def test_an_image_without_tables(tmp_path: Path) -> None:
    maker = small_kernel()
    maker.sections = [s for s in maker.sections if s.name != "__ex_table"]
    assert maker.symbols is not None
    maker.symbols = [s for s in maker.symbols if "ex_table" not in s.name]
    path = tmp_path / "vmlinux"
    path.write_bytes(maker.build())
    image = load_image(path)
    assert len(image.bug_table) == len(image.exception_table) == 0
    assert list(image.mcount_sites) == list(image.kprobe_blacklist) == []


def test_what_is_exported_is_searched_only_where_the_table_has_no_name(tmp_path: Path) -> None:
    """A word anywhere may happen to lead to a text that is some name."""
    maker, base = small_kernel(), TEXT["x86_64"]
    text = bytearray(maker.loads[0].data)
    text[0x2B00:0x2B06] = b"jiffy\0"
    struct.pack_into("<ii", text, 0x2A00, 0x3008 - 0x2A00, 0x2B00 - 0x2A04)
    maker.loads[0].data = bytes(text)
    path = tmp_path / "vmlinux"
    path.write_bytes(maker.build())
    assert load_image(path).exported("jiffy") == base + 0x3008
    assert maker.symbols is not None
    maker.symbols.append(Sym("__start___ksymtab", base + 0x2C00, 0, NOTYPE, section=".rodata"))
    path.write_bytes(maker.build())
    assert load_image(path).exported("jiffy") is None
    assert load_image(path).exported("counter") == base + 0x3008
