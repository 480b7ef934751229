"""Inlined copies by debug information."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from kprobesim import KernelImage
from kprobesim.errors import DebugInfoError, ImageError
from kprobesim.functions.dwarf.debug_file import has_dwarf, open_symcache
from kprobesim.functions.dwarf.inlines import Inlines
from kprobesim.functions.dwarf.symcache import SymCache
from kprobesim.functions.facts import Inlining
from kprobesim.functions.functions import Functions, open_functions
from kprobesim.image import load_image
from kprobesim.kernel.offline import open_rules

pytestmark = pytest.mark.compiler

pytest.importorskip("symbolic")


@pytest.fixture(scope="module")
def told(vmlinux: Path) -> Functions:
    """The functions, with what the debug information tells."""
    rules = open_rules(vmlinux)
    return open_functions(rules.image, rules.read)


def test_wholly_inlined_functions_have_places(told: Functions) -> None:
    facts = told.facts("wholly")
    assert (facts.inlining, facts.found_by, facts.certainty) == (Inlining.WHOLE, "dwarf", "exact")
    assert [copy.caller for copy in facts.inlined_into] == ["holds_copies", "holds_more"]
    copy = facts.inlined_into[1]
    assert (copy.file, copy.line) == ("kernel.c", 10)
    symbol = told.image.symbols["holds_more"]
    assert copy.address is not None
    assert symbol.address <= copy.address < symbol.address + symbol.size


def test_a_function_with_copies_and_code_of_its_own(told: Functions) -> None:
    facts = told.facts("partly")
    assert facts.inlining is Inlining.PART
    assert [copy.caller for copy in facts.inlined_into] == ["holds_copies"]
    assert facts.callers == ("second_twin",)
    assert facts.misses_calls


@pytest.mark.parametrize("name", ["holds_copies", "twin", "cloned", "untraced", "in_table"])
def test_functions_without_copies(told: Functions, name: str) -> None:
    facts = told.facts(name)
    assert (facts.inlining, facts.certainty) == (Inlining.NOT, "exact")
    assert facts.inlined_into == ()


def test_a_name_without_code_or_copies_is_not_there(told: Functions) -> None:
    assert told.facts("no_such_function").inlining is Inlining.GONE


def test_wholly_inlined_functions_are_among_all(told: Functions) -> None:
    assert "wholly" in told.names()


def test_every_copy_is_where_symbolic_finds_it(told: Functions, vmlinux: Path) -> None:
    from symbolic import Archive

    (found,) = Archive.open(str(vmlinux)).iter_objects()
    made = found.make_symcache()
    base = told.image.segments[0].vaddr
    copies = [(n, copy) for n in ("wholly", "partly") for copy in told.facts(n).inlined_into]
    assert copies
    for name, copy in copies:
        assert copy.address is not None
        stack = made.lookup(copy.address - base)
        assert [frame.symbol for frame in stack] == [name, copy.caller]
        assert stack[1].line == copy.line


def test_source_lines_are_where_symbolic_finds_them(vmlinux: Path) -> None:
    from symbolic import Archive

    cache = open_symcache(load_image(vmlinux))
    assert cache is not None
    (found,) = Archive.open(str(vmlinux)).iter_objects()
    made = found.make_symcache()
    lines = [row for row in cache.lines() if row[2]]
    assert [row[0] for row in lines] == sorted({row[0] for row in lines})
    assert {file for _, file, _ in lines} >= {"kernel.c"}
    for start, _, line in lines:
        assert made.lookup(start)[0].line == line


def test_debug_information_may_lie_in_another_file(vmlinux: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    data = vmlinux.read_bytes()
    stripped.write_bytes(data.replace(b".debug_info", b".nothing_in"))
    image = load_image(stripped)
    assert not has_dwarf(image)
    assert open_symcache(image) is None
    cache = open_symcache(image, vmlinux)
    assert cache is not None
    assert "wholly" in Inlines(cache, image).names()


def test_debug_information_may_be_packed(vmlinux: Path, tmp_path: Path) -> None:
    packed = tmp_path / "vmlinux.gz"
    packed.write_bytes(gzip.compress(vmlinux.read_bytes(), 1))
    image = load_image(packed)
    cache = open_symcache(image)
    assert cache is not None
    assert "wholly" in Inlines(cache, image).names()


def _other(image: KernelImage, path: Path) -> Path:
    other = path / "other"
    data = image.path.read_bytes().replace(b"6.1.0-tiny", b"6.2.0-tiny")
    other.write_bytes(data)
    return other


def test_debug_information_of_another_build_is_refused(vmlinux: Path, tmp_path: Path) -> None:
    image = load_image(vmlinux)
    with pytest.raises(ImageError, match="of another build"):
        open_symcache(image, _other(image, tmp_path))


def test_a_file_without_debug_information_is_refused(vmlinux: Path, tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(b"plain text")
    with pytest.raises(ImageError, match="no kernel"):
        open_symcache(load_image(vmlinux), path)


def test_what_symbolic_made_is_kept_and_mapped(
    vmlinux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPROBESIM_CACHE", str(tmp_path))
    image = load_image(vmlinux)
    made = open_symcache(image)
    (kept,) = tmp_path.glob("*.symcache")
    heard: list[str] = []
    mapped = open_symcache(image, progress=heard.append)
    assert made is not None
    assert mapped is not None
    assert mapped.copies("wholly") == made.copies("wholly")
    assert heard == []
    whole = kept.read_bytes()
    for damaged in (whole[:100], b"", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        kept.write_bytes(damaged)
        heard.clear()
        assert open_symcache(image, progress=heard.append) is not None
        assert len(heard) == 1  # it was made anew
        assert kept.read_bytes() == whole


def test_damaged_files_are_told(vmlinux: Path, tmp_path: Path) -> None:
    with pytest.raises(DebugInfoError, match="magic"):
        SymCache(b"nothing" * 100)
    with pytest.raises(DebugInfoError, match="version 1;"):
        SymCache(b"SYMC" + (1).to_bytes(4, "little") + bytes(100))
    with pytest.raises(DebugInfoError, match="ends too early"):
        SymCache(b"SYMC" + (9).to_bytes(4, "little") + bytes(36) + b"\xff\0\0\0" + bytes(40))


def test_damage_makes_an_error_or_another_answer_and_no_end_of_time(told: Functions) -> None:
    image = told.image
    from symbolic import Archive

    (found,) = Archive.open(str(image.path)).iter_objects()
    file = io.BytesIO()
    found.make_symcache().dump_into(file)
    whole = file.getvalue()
    chance = random.Random(1)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        try:
            inlines = Inlines(SymCache(bytes(data)), image)
            for name in sorted(inlines.names())[:20]:
                inlines.copies(name)
        except DebugInfoError:
            pass
