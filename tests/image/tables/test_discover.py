"""Tables found by their shape alone, as in boot images without CONFIG_KALLSYMS_ALL."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from makers.elf_maker import TEXT
from makers.kallsyms_maker import LAYOUTS, make_kallsyms
from makers.package_maker import make_arm64_image

from kprobesim.image import KernelImage, load_image
from kprobesim.image.segment import Segment
from kprobesim.image.tables.discover import find_address_runs, find_blacklist, find_records

BASE = TEXT["arm64"]
NOP = b"\x1f\x20\x03\xd5"
FUNCTIONS = 600


def make_image(tmp_path: Path, *, typed: bool) -> KernelImage:
    """Functions of 64 bytes: two nops, a load that may fault, a BUG, a fix-up."""
    text = bytearray()
    for _ in range(FUNCTIONS):
        text += NOP * 4 + b"\x00\x00\x21\xd4" + NOP * 11
    functions = [BASE + 64 + 64 * i for i in range(FUNCTIONS)]
    end = BASE + 64 + len(text)
    entries = [("T", "_stext", functions[0])]
    entries += [("T", f"f{i}", f) for i, f in enumerate(functions)]
    entries[3] = ("T", "get_kprobe", functions[2])
    entries[8] = ("T", "notify_die", functions[7])
    entries += [("T", "_etext", end)]
    out = bytearray(text)

    def here() -> int:
        return BASE + 64 + len(out)

    def record(*targets: int) -> None:
        for target in targets:
            out.extend(struct.pack("<i", target - here()))

    layout = next(layout for layout in LAYOUTS if layout.name == "6.12-arm64")
    out += make_kallsyms(layout, entries, here(), BASE)
    for i, function in enumerate(functions):  # .altinstructions: sorted, and no exception table
        record(function, function + 8)
        out.extend(struct.pack("<HBB", i % 40, 4, 4))
    for function in functions[:200]:
        record(function + 8, function + 32)
        if typed:
            out.extend(struct.pack("<HH", 2, 3 << 5 | 4))
    out += bytes(24) + b"mm/slub.c\0\0\0"
    file = here() - 12
    for i, function in enumerate(functions):
        record(function + 16, file)
        out.extend(struct.pack("<HH", i, 1))
    out += bytes(-len(out) % 8) + bytes(16)
    for words in (functions, [0, 0], functions[:40], [functions[50], 2, functions[51], 1]):
        out += struct.pack(f"<{len(words)}Q", *words)
    path = tmp_path / "Image"
    path.write_bytes(make_arm64_image(bytes(out), base=BASE, pointers=[], image_size=1 << 20))
    return load_image(path)


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "bare"])
def test_all_tables(tmp_path: Path, typed: bool) -> None:
    image = make_image(tmp_path, typed=typed)
    functions = [BASE + 64 + 64 * i for i in range(FUNCTIONS)]
    assert [entry.insn for entry in image.exception_table] == [f + 8 for f in functions[:200]]
    assert [entry.fixup for entry in image.exception_table] == [f + 32 for f in functions[:200]]
    types = {entry.type for entry in image.exception_table}
    assert types == ({2} if typed else {None})
    assert [bug.addr for bug in image.bug_table] == [f + 16 for f in functions]
    bug = image.bug_table.at(functions[77] + 16)
    assert bug is not None
    assert (bug.file, bug.line, bug.is_warning) == ("mm/slub.c", 77, True)
    assert list(image.mcount_sites) == functions
    assert list(image.kprobe_blacklist) == functions[:40]


NOTHING = (0, b"")


def segment(data: bytes) -> Segment:
    return Segment(0x1000, 0, memoryview(data), len(data), True, True, True, "")


def test_nothing_in_noise() -> None:
    noise = segment(random.Random(1).randbytes(1 << 16) + b"\xff" * 5000 + bytes(5000))
    for size in (8, 12, 16):
        assert find_records([noise], (size,), lambda *_: False) == NOTHING
        assert find_records([noise], (size,), lambda first, *_: first == 1) == NOTHING
    assert find_address_runs([noise], 1 << 60, (1 << 60) + 4096, 2) == []
    assert find_blacklist([], [5]) is None


def test_rising_records() -> None:
    def records(*targets: int) -> bytes:
        return b"".join(
            struct.pack("<iii", target - 0x1000 - 12 * i, -0x400, 1)
            for i, target in enumerate(targets)
        )

    def whole(_first: int, _second: int, record: bytes) -> bool:
        return record.endswith(b"\1\0\0\0")

    rising = records(*range(0x100, 0x100 + 8 * 30, 8))
    level = records(*[0x100] * 60)
    data = level + bytes(24) + rising
    found = find_records([segment(data)], (12,), whole)
    assert found[1].startswith(level)
    assert find_records([segment(level)], (12,), whole, rising=True) == NOTHING
    found = find_records([segment(rising)], (12,), whole, rising=True)
    assert found == (0x1000, rising)


def test_tables_are_searched_once_for_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tables() -> tuple[object, ...]:
        image = make_image(tmp_path, typed=True)
        return (
            list(image.exception_table),
            list(image.bug_table),
            list(image.mcount_sites),
            list(image.kprobe_blacklist),
            image.jump_table,
        )

    def search(*_: object, **__: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setenv("KPROBESIM_CACHE", str(tmp_path / "cache"))
    fresh = tables()
    monkeypatch.setattr("kprobesim.image.tables.shapes.find_records", search)
    monkeypatch.setattr("kprobesim.image.tables.shapes.find_address_runs", search)
    assert tables() == fresh
    kept = next((tmp_path / "cache").glob("*.findings.kpi"))
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="searched again"):
        tables()
