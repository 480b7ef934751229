"""The cpio archives that kernels unpack."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kprobesim.boot.initramfs import (
    Entry,
    character_device,
    directory,
    make_cpio,
    read_cpio,
    regular_file,
    symbolic_link,
)
from kprobesim.errors import UsageError

TREE: dict[str, bytes | Entry] = {
    "init": b"\x7fELF",
    "dev/console": character_device(5, 1),
    "etc/motd": regular_file(b"hello\n"),
    "bin/sh": symbolic_link("busybox"),
    "tmp": directory(0o1777),
}


def record(
    name: str, data: bytes = b"", *, mode: int = 0o100644, inode: int = 1, nlink: int = 1
) -> bytes:
    """One entry by the format's own words, written apart from the code under test."""
    text = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, nlink, 0, len(data), 8, 1, 0, 0, len(text), 0)
    header = b"070701" + struct.pack(">13I", *fields).hex().encode() + text
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


TRAILER = record("TRAILER!!!", mode=0)


def test_bytes_of_a_small_archive() -> None:
    archive = make_cpio({"a": b"xyz"})
    assert archive[:6] == b"070701" and len(archive) % 512 == 0
    fields = [int(archive[i : i + 8], 16) for i in range(6, 110, 8)]
    assert fields == [1, 0o100755, 0, 0, 1, 0, 3, 0, 0, 0, 0, 2, 0]
    assert archive[110:116] == b"a\0xyz\0"
    assert archive[116:122] == b"070701" and archive[116 + 110 :].startswith(b"TRAILER!!!\0")
    assert not archive[116 + 110 + 10 :].strip(b"\0")


def test_what_is_written_is_read_again() -> None:
    files = read_cpio(make_cpio(TREE))
    assert list(files) == [
        *("bin", "bin/sh", "dev", "dev/console"),
        *("etc", "etc/motd", "init", "tmp"),
    ]
    assert files["init"] == regular_file(b"\x7fELF", 0o755)
    assert files["dev"] == directory() and files["tmp"].mode == 0o041777
    for name in ("dev/console", "etc/motd", "bin/sh"):
        assert files[name] == TREE[name]


def test_same_files_give_the_same_bytes_in_any_order() -> None:
    turned = {f"/{name}": TREE[name] for name in reversed(TREE)}
    assert make_cpio(turned) == make_cpio(TREE)
    inodes = [int(part[:8], 16) for part in make_cpio(TREE).split(b"070701")[1:-1]]
    assert inodes == list(range(1, 9))


PARTS = st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..", "TRAILER!!!") and part.isprintable()
)


@given(st.dictionaries(PARTS, st.binary(max_size=40), max_size=6))
def test_any_files_survive(files: dict[str, bytes]) -> None:
    found = read_cpio(make_cpio(files))
    assert {name: entry.data for name, entry in found.items()} == files


def test_links_share_the_data_wherever_it_is() -> None:
    links = {"inode": 7, "nlink": 3}
    last = record("a", **links) + record("b", **links) + record("c", b"data", **links)  # type: ignore[arg-type]
    first = record("a", b"data", **links) + record("b", **links) + record("c", **links)  # type: ignore[arg-type]
    for archive in (last, first):
        found = read_cpio(archive + record("d", inode=8) + TRAILER)
        assert [entry.data for entry in found.values()] == [b"data"] * 3 + [b""]
    apart = read_cpio(record("a", b"1", **links) + TRAILER + record("b", **links) + TRAILER)  # type: ignore[arg-type]
    assert [entry.data for entry in apart.values()] == [b"1", b""]


def test_archives_one_after_another() -> None:
    early = make_cpio({"kernel/x86/microcode": b"old", "init": b"1"})
    found = read_cpio(early + make_cpio({"init": b"2"}))
    assert found["init"].data == b"2" and found["kernel/x86/microcode"].data == b"old"


def test_names_as_cpio_writes_them() -> None:
    archive = record(".", mode=0o40755) + record("./init", b"x") + record("/etc", mode=0o40755)
    assert list(read_cpio(archive + TRAILER)) == ["init", "etc"]


@pytest.mark.parametrize(
    "path", ["", "/", "a//b", ".", "a/../b", "a\0b", "TRAILER!!!", "x" * 4096, 5]
)
def test_paths_that_no_file_can_have(path: str) -> None:
    with pytest.raises(UsageError, match="path"):
        make_cpio({path: b""})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a": b"", "/a": b""}, "twice"),
        ({"a": b"", "a/b": b""}, "no directory"),
        ({"a": "text"}, "bytes or an Entry"),
        ({"a": symbolic_link("")}, "target"),
        ({"a": symbolic_link("x" * 4096)}, "target"),
        ({"a": Entry(0o040755, b"x")}, "cannot hold data"),
        ({"a": character_device(-1, 0)}, "32 bits"),
        ({"a": character_device(0, 1 << 32)}, "32 bits"),
    ],
)
def test_entries_that_no_kernel_unpacks(files: dict[str, bytes | Entry], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_cpio(files)


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"\x1f\x8b\x08" + bytes(200), "uncompressed"),
        (b"070707" + b"0" * 200, "newc"),
        (b"070701" + b"zz" * 60, "newc"),
        (b"070701" + b" 1" * 60, "newc"),
        (b"070701" + b"0" * 104, "beyond"),
        (b"070701" + b"f" * 104, "beyond"),
        (record("a", b"12345678")[:-4], "beyond"),
        (make_cpio(TREE)[:50], "newc"),
    ],
)
def test_bytes_that_are_no_archive(archive: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_cpio(archive)


@given(st.binary(max_size=300), st.integers(0, 600))
def test_damage_is_one_clear_error_or_none(junk: bytes, at: int) -> None:
    archive = make_cpio(TREE)
    try:
        read_cpio(archive[:at] + junk + archive[at + len(junk) :])
    except UsageError as error:
        assert str(error).startswith("initramfs: ")
