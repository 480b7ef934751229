"""Any source: how its kind is told, folders and patterns, and files that are none."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from kprobesim.errors import UsageError
from kprobesim.sources.read import read_source, read_sources, read_text
from kprobesim.sources.reading import MAX_PROBLEMS
from kprobesim.sources.text import MAX_SIZE
from kprobesim.sources.wanted import SourceKind

KINDS = {
    "a.bt": ("kprobe:f { }", SourceKind.BPFTRACE),
    "no-suffix": ("#!/usr/bin/env bpftrace\nBEGIN { }", SourceKind.BPFTRACE),
    "policy.yaml": ("kind: TracingPolicy\nspec: {kprobes: [{call: f}]}", SourceKind.TETRAGON),
    "events": ("p:a f\nr f $retval\n", SourceKind.KPROBE_EVENTS),
    "probes": ("a=f:3 x\nf%return\nf@file.c\n", SourceKind.PERF_PROBE),
    "names": ("f\ng+4\n", SourceKind.NAMES),
    "names.json": ('["f"]', SourceKind.NAMES),
    "prose.txt": ("This is a text, and it is no list of probes.\n", SourceKind.UNKNOWN),
    "other.yaml": ("kind: Pod\nspec:\n  containers: []\n", SourceKind.UNKNOWN),
    "script.sh": ("#!/bin/sh\nif true\nthen\n  exit\nfi\n", SourceKind.UNKNOWN),
    "readme.md": (
        "# Tools\nThis runs perf probe, and:\n\nvfs_read\nvfs_write\nThat is {all}.\n",
        SourceKind.UNKNOWN,
    ),
    "words": ("usage\nThis is a text.\nIt has words, and\nis no list.\n", SourceKind.UNKNOWN),
    "empty": ("", SourceKind.NAMES),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_is_told_from_the_content(name: str, tmp_path: Path) -> None:
    text, kind = KINDS[name]
    path = tmp_path / name
    path.write_text(text)
    source = read_source(path)
    assert (source.kind, source.path) == (kind, path)
    assert source.wanted or source.problems or source.notes


def test_the_kind_may_be_said() -> None:
    source = read_text("f count\n", Path("x"), SourceKind.PERF_PROBE)
    assert [one.target for one in source.wanted] == ["f"]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfvfs_read\r\nvfs_write\r\n",
        "vfs_read\nvfs_write\n".encode("utf-16"),
        b"vfs_read # na\xefve\nvfs_write",
        b"vfs_read\rvfs_write\r",
    ],
)
def test_encodings_and_ends_of_lines(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(data)
    source = read_source(path)
    assert [(one.target, one.line) for one in source.wanted] == [("vfs_read", 1), ("vfs_write", 2)]
    assert source.problems == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0" * 4096, "is binary"),
        (os.urandom(4096) + b"\0", "is binary"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is binary"),
        (b"A" * (MAX_SIZE // 8), "characters"),
        (b"\xff\xfe\xfd\xfc" * 1000, "nothing that names probes"),
    ],
)
def test_rubbish_has_one_clear_line(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(data)
    source = read_source(path)
    assert source.wanted == ()
    (problem,) = source.problems
    assert words in problem.text
    assert "\0" not in problem.text


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    (problem,) = read_source(path).problems
    assert "more than 32 MiB" in problem.text


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "absent", Path("/dev/zero"), Path("a\0b")):
        (problem,) = read_source(path).problems
        assert "cannot be read" in problem.text or "neither a file nor a folder" in problem.text


def test_problems_and_probes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_text("p vfs_read\n" + "p vfs_read $x\n" * 1000, Path("x"))
    assert len(source.problems) == MAX_PROBLEMS + 1
    assert "900 more lines" in source.problems[-1].text
    monkeypatch.setattr("kprobesim.sources.reading.MAX_WANTED", 1000)
    source = read_text("a\n" * 1001, Path("x"))
    assert len(source.wanted) == 1000
    assert "the rest is left out" in source.problems[0].text


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"kprobe:f { }")
    os.close(write_end)
    with io.FileIO(read_end) as file:
        monkeypatch.setattr("sys.stdin", file)
        (source,) = read_sources(["-", "-"])
    assert [one.source for one in source.wanted] == ["-"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "b/two.bt": "kprobe:two { }",
        "a.list": "one\n",
        "README": "This says what the folder holds, in words.\n",
        "b/bad.bt": "kprobe:f",
        ".git/hidden": "hidden\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "again").symlink_to(tmp_path)
    return tmp_path


def test_a_folder_is_read_with_all_below_and_other_files_are_noted(folder: Path) -> None:
    sources = read_sources([folder])
    assert [str(one.path.relative_to(folder)) for one in sources] == [
        "README",
        "a.list",
        "picture.png",
        "b/bad.bt",
        "b/two.bt",
    ]
    assert [one.target for source in sources for one in source.wanted] == ["one", "f", "two"]
    assert [source.path.name for source in sources if source.problems] == ["bad.bt"]
    assert [source.path.name for source in sources if source.notes] == ["README", "picture.png"]


def test_patterns_and_the_same_file_twice(folder: Path) -> None:
    sources = read_sources([f"{folder}/**/*.bt", folder / "b/two.bt"])
    assert [one.path.name for one in sources] == ["bad.bt", "two.bt"]


def test_a_file_that_was_named_must_be_a_source(folder: Path) -> None:
    (source,) = read_sources([folder / "picture.png"])
    assert source.problems


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "at least one source"),
        (["/nowhere/x.bt"], "no such file"),
        (["/nowhere/*.bt"], "matches no file"),
    ],
)
def test_names_of_nothing(names: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_sources(names)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder without files"):
        read_sources([tmp_path])
