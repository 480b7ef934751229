"""Unpacked images are kept: whole, by content, within bounds, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from makers.elf_maker import TEXT, small_kernel
from makers.package_maker import make_bzimage, make_deb

from kprobesim.image import KernelImage, load_image
from kprobesim.image.modules.package import ModulePackage
from kprobesim.user_cache import cache_directory

FACTS = "arch container entry banner release build_id regions text_ranges percpu_load sections"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, which is not there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KPROBESIM_CACHE", str(folder))
    return folder


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    return package(tmp_path / "linux.deb")


def package(path: Path, comment: str = "") -> Path:
    kernel = make_bzimage(small_kernel().build(), "zstd")
    path.write_bytes(make_deb({"./boot/vmlinuz": kernel, "./doc": comment.encode()}))
    return path


def load(path: Path) -> tuple[KernelImage, bool]:
    """The image, and whether it had to be unpacked."""
    said: list[str] = []
    image = load_image(path, progress=said.append)
    return image, bool(said)


def assert_same(one: KernelImage, other: KernelImage) -> None:
    for fact in FACTS.split():
        assert getattr(one, fact) == getattr(other, fact), fact
    assert list(one.symbols) == list(other.symbols)
    assert one.symbols.source == other.symbols.source
    assert [(s.vaddr, s.memsz, bytes(s.data)) for s in one.segments] == [
        (s.vaddr, s.memsz, bytes(s.data)) for s in other.segments
    ]
    assert list(one.exception_table) == list(other.exception_table)


def test_a_second_load_unpacks_nothing_and_gives_the_same(folder: Path, deb: Path) -> None:
    fresh, unpacked = load(deb)
    assert unpacked
    moved = deb.rename(deb.with_name("other.deb"))
    kept, unpacked = load(moved)
    assert not unpacked
    assert (fresh.path, kept.path) == (deb, moved)
    assert_same(fresh, kept)
    assert kept.read(TEXT["x86_64"], 2) == b"\x90\x90"


def test_other_symbols_on_a_kept_image(folder: Path, deb: Path, tmp_path: Path) -> None:
    load(deb)
    (tmp_path / "System.map").write_text(f"{TEXT['x86_64']:016x} T _text\n")
    image = load_image(deb, symbols=tmp_path / "System.map")
    assert [symbol.name for symbol in image.symbols] == ["_text"]
    assert len(load_image(deb).symbols) > 1


def test_other_content_and_other_code_are_other_entries(
    folder: Path, deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(deb)
    assert load(package(tmp_path / "linux.deb", "changed"))[1]
    monkeypatch.setattr("kprobesim.image.cache.code_stamp", lambda *rooms: "a later version")
    assert load(deb)[1]
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("how", ["a byte", "cut", "empty", "another file"])
def test_a_damaged_entry_is_made_anew(folder: Path, deb: Path, how: str) -> None:
    fresh, _ = load(deb)
    (entry,) = folder.iterdir()
    good = entry.read_bytes()
    middle = len(good) // 2
    entry.write_bytes(
        {
            "a byte": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
            "cut": good[:middle],
            "empty": b"",
            "another file": deb.read_bytes(),
        }[how]
    )
    again, unpacked = load(deb)
    assert unpacked
    assert_same(fresh, again)
    assert entry.read_bytes() == good
    assert not load(deb)[1]


def test_those_not_used_for_longest_go(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [package(tmp_path / f"{n}.deb", str(n)) for n in range(4)]
    for number, deb in enumerate(packages[:3]):
        known = set(folder.iterdir()) if number else set()
        load(deb)
        (new,) = set(folder.iterdir()) - known
        os.utime(new, (number, number))
    load(packages[0])  # used again: now it is the newest
    size = new.stat().st_size
    monkeypatch.setattr("kprobesim.image.cache.MOST", 2 * size + size // 2)
    load(packages[3])
    assert [load_image_is_kept(deb) for deb in packages] == [True, False, False, True]


def load_image_is_kept(deb: Path) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kprobesim.image.cache.write_entry", lambda entry, facts, sections: None)
        return not load(deb)[1]


def test_what_a_killed_process_left_is_cleared_away(folder: Path, deb: Path) -> None:
    folder.mkdir()
    for name, age in (("old", 0), ("new", None)):
        file = folder / f".{name}.kps"
        file.write_bytes(b"half")
        if age is not None:
            os.utime(file, (age, age))
    load(deb)
    assert sorted(f.name for f in folder.iterdir() if f.suffix == ".kps") == [".new.kps"]


@pytest.mark.parametrize("word", ["off", "0", ""])
def test_it_can_be_switched_off(
    tmp_path: Path, deb: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KPROBESIM_CACHE", word)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    before = sorted(tmp_path.rglob("*"))
    assert load(deb)[1]
    assert load(deb)[1]
    assert sorted(tmp_path.rglob("*")) == before


def test_by_default_it_is_in_the_users_own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KPROBESIM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "kprobesim/images"


def test_where_nothing_can_be_written_nothing_is_kept(folder: Path, deb: Path) -> None:
    folder.write_bytes(b"a file is in the way")
    assert load(deb)[0].banner
    assert load(deb)[1]


def test_processes_at_once(folder: Path, deb: Path) -> None:
    code = "from kprobesim.image import load_image; print(len(load_image(%r).symbols))"
    command = [sys.executable, "-c", code % str(deb)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert len(set(said)) == 1 and all(process.returncode == 0 for process in running)
    assert [file.suffix for file in folder.iterdir()] == [".kpi"]
    assert not load(deb)[1]


def test_modules_are_kept_when_one_was_asked_for(folder: Path, tmp_path: Path) -> None:
    deb = tmp_path / "linux.deb"
    files = {f"./lib/modules/6.1/kernel/{name}.ko": name.encode() * 50 for name in ("a-b", "c")}
    deb.write_bytes(make_deb({**files, "./boot/vmlinux": small_kernel().build()}))
    for times in range(3):
        said: list[str] = []
        package = ModulePackage(deb, said.append)
        assert package.read("c") == (deb / "lib/modules/6.1/kernel/c.ko", b"c" * 50)
        assert package.names() == ["a_b", "c"]
        assert package.read("d") is None
        assert bool(said) == (times != 1)
        if times == 1:
            (entry,) = folder.iterdir()
            entry.write_bytes(entry.read_bytes()[:-1])
    load(deb)
    assert len(list(folder.iterdir())) == 2


def test_plain_files_are_not_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(small_kernel().build())
    assert load_image(tmp_path / "vmlinux").symbols
    assert not folder.exists()
