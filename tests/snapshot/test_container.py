"""The file is whole or refused: whatever is flipped, cut or added."""

from __future__ import annotations

import json
import os
import struct
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kprobesim import SnapshotError
from kprobesim.snapshot.container import is_snapshot, read_container, write_container

FACTS = {"arch": "arm64", "pages": 3}
SECTIONS = {"one": b"first section", "empty": b"", "two": bytes(range(256))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "whole.kps"
    write_container(path, FACTS, SECTIONS)
    return path


def test_what_was_written_is_read(whole: Path) -> None:
    found = read_container(whole)
    assert found.facts == FACTS
    assert {name: bytes(data) for name, data in found.sections.items()} == SECTIONS
    assert is_snapshot(whole)
    with pytest.raises(SnapshotError, match="no section 'three'"):
        found.section("three")


def test_nothing_else_is_left_in_the_directory(whole: Path) -> None:
    assert list(whole.parent.iterdir()) == [whole]


def test_an_old_file_is_replaced_and_keeps_readers_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.kps"
    write_container(path, FACTS, SECTIONS)
    with path.open("rb") as reader:
        write_container(path, {}, {"other": b"x"})
        assert reader.read().endswith(SECTIONS["two"])
    assert bytes(read_container(path).section("other")) == b"x"


@pytest.fixture(scope="module")
def changed(whole: Path) -> Path:
    return whole.with_name("changed.kps")


@given(data=st.data())
def test_any_changed_bytes_are_refused(whole: Path, changed: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    for at, bits in data.draw(
        st.dictionaries(
            st.integers(0, len(content) - 1), st.integers(1, 255), min_size=1, max_size=4
        )
    ).items():
        content[at] ^= bits
    changed.write_bytes(content)
    with pytest.raises(SnapshotError):
        read_container(changed)


@given(data=st.data())
def test_any_cut_or_longer_file_is_refused(whole: Path, changed: Path, data: st.DataObject) -> None:
    content = whole.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    changed.write_bytes(data.draw(st.sampled_from([content[:start] + content[end:] + b"\0"])))
    with pytest.raises(SnapshotError):
        read_container(changed)
    if start < len(content):
        changed.write_bytes(content[:start])
        with pytest.raises(SnapshotError):
            read_container(changed)


def seal(directory: bytes, rest: bytes, *, said: int | None = None, version: int = 1) -> bytes:
    """A file whose checksum is right, whatever it says."""
    length = len(directory) if said is None else said
    total = 64 + len(directory) + len(rest)
    head = struct.pack("<8sI4xQQ", b"\x89KPS\r\n\x1a\n", version, total, length)
    return head + sha256(head + directory + rest).digest() + directory + rest


@pytest.mark.parametrize(
    ("directory", "rest"),
    [
        (b"", b""),
        (b"{", b""),
        (b"[]", b""),
        (b"{}", b""),
        (b'{"facts": 1, "sections": []}', b""),
        (b'{"facts": {}, "sections": 7}', b""),
        (b'{"facts": {}, "sections": [["a"]]}', b""),
        (b'{"facts": {}, "sections": [["a", "1"]]}', b"x"),
        (b'{"facts": {}, "sections": [["a", true]]}', b"x"),
        (b'{"facts": {}, "sections": [["a", -1]]}', b"x"),
        (b'{"facts": {}, "sections": [["a", 2]]}', b"x"),
        (b'{"facts": {}, "sections": [[["a"], 1]]}', b"x"),
        (b'{"facts": {}, "sections": [["a", 1], ["a", 1]]}', b"xy"),
        (b'{"facts": {}, "sections": [["a", 1]]}', b"xy"),
        (b'{"facts": {}, "sections": [["a", 99999999999999999999999]]}', b"x"),
        (b"[" * 100_000, b""),
        (b"\xff\xfe", b""),
        (b'{"facts": ' + b"9" * 10_000 + b', "sections": []}', b""),
    ],
)
def test_a_right_checksum_over_nonsense(tmp_path: Path, directory: bytes, rest: bytes) -> None:
    path = tmp_path / "sealed.kps"
    path.write_bytes(seal(directory, rest))
    with pytest.raises(SnapshotError, match="no sound snapshot"):
        read_container(path)


def test_a_directory_that_is_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sealed.kps"
    path.write_bytes(seal(json.dumps({"facts": {}, "sections": []}).encode(), b"", said=1 << 60))
    with pytest.raises(SnapshotError, match="longer than the file"):
        read_container(path)


def test_a_sparse_file_is_not_read_into_memory(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sparse.kps"
    size = 1 << 42
    path.write_bytes(seal(b"{}", b""))
    with path.open("r+b") as file:
        file.truncate(size)
        file.seek(16)
        file.write(struct.pack("<Q", size))
    with pytest.raises(SnapshotError, match="no snapshot has 4398046511104 bytes"):
        read_container(path)
    # Below the limit, the checksum is compared before there is a place for it all.
    monkeypatch.setattr("kprobesim.snapshot.container._AT_ONCE", 100)
    assert read_container(whole).facts == FACTS
    data = bytearray(whole.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match="checksum is wrong"):
        read_container(path)


def test_another_version_says_which(tmp_path: Path) -> None:
    path = tmp_path / "new.kps"
    path.write_bytes(seal(b'{"facts": {}, "sections": []}', b"", version=3))
    with pytest.raises(SnapshotError, match="has format 3, and"):
        read_container(path)


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(100), b"\x89KPS\n\x1a\n", b"\x89KPS"])
def test_another_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(content)
    assert not is_snapshot(path)
    with pytest.raises(SnapshotError, match="is no snapshot of kprobesim"):
        read_container(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path / "missing", tmp_path, fifo, "a\0b", tmp_path / ("x" * 300)):
        assert not is_snapshot(path)
        with pytest.raises(SnapshotError):
            read_container(path)
    with pytest.raises(SnapshotError, match="is no path"):
        read_container(None)  # type: ignore[arg-type]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path / "missing" / "a.kps", tmp_path, fifo, "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(SnapshotError):
            write_container(path, FACTS, SECTIONS)
    assert list(tmp_path.iterdir()) == [fifo]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.kps"
    write_container(path, FACTS, SECTIONS)
    before = path.read_bytes()
    opened = Path.open

    def full(self: Path, mode: str = "r", *args: object) -> object:
        if mode == "xb":
            opened(self, mode).close()
            return Path("/dev/full").open("wb")
        return opened(self, mode, *args)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(SnapshotError, match="cannot be written: No space left on device"):
        write_container(path, FACTS, SECTIONS)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
