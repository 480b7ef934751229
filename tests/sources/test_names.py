"""Plain lists, ftrace's lists, lines of kallsyms and JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind


def read(text: str) -> Source:
    source = read_text(text, Path("list"))
    assert source.kind is SourceKind.NAMES
    return source


@pytest.mark.parametrize(
    ("line", "module", "target", "offset"),
    [
        ("vfs_read", None, "vfs_read", 0),
        ("  vfs_read+0x10  # why", None, "vfs_read", 16),
        ("vfs_read+010", None, "vfs_read", 10),
        ("vfs_read+0x10/0x40", None, "vfs_read", 16),
        ("do_it.isra.0", None, "do_it.isra.0", 0),
        ("ext4:ext4_sync_file+4", "ext4", "ext4_sync_file", 4),
        ("ext4_sync_file [ext4]", "ext4", "ext4_sync_file", 0),
        ("ffffffffc0012340 t ext4_sync_file\t[ext4]", "ext4", "ext4_sync_file", 0),
        ("ffffffff81001230 T vfs_read", None, "vfs_read", 0),
        ("vfs_read,16", None, "vfs_read", 16),
        ("vfs_read,0x10,more", None, "vfs_read", 16),
    ],
)
def test_a_line(line: str, module: str | None, target: str, offset: int) -> None:
    (wanted,) = read(f"# a list\n\n{line}\n").wanted
    assert (wanted.module, wanted.target, wanted.offset) == (module, target, offset)
    assert (wanted.line, wanted.interface) == (3, Interface.REGISTER_KPROBE)


def test_addresses_returns_and_attach_points() -> None:
    source = read("0xffffffff81000000\nvfs_read\nvfs_read%return\nfentry:f\nuprobe:/x:y\n")
    assert source.wanted[0].address == 0xFFFFFFFF81000000
    assert source.wanted[2].returns
    assert source.wanted[3].interface is Interface.FENTRY
    assert [note.line for note in source.notes] == [5]


def test_names_of_sections() -> None:
    source = read(
        'kprobe/vfs_read+4\nSEC("?fentry/ext4:ext4_sync_file")\nfs/read_write\nvfs_open\n'
    )
    assert [(one.interface, one.target) for one in source.wanted] == [
        (Interface.KPROBE_PERF, "vfs_read"),
        (Interface.FENTRY, "ext4_sync_file"),
        (Interface.REGISTER_KPROBE, "vfs_open"),
    ]
    assert [problem.line for problem in source.problems] == [3]


def test_lists_for_ftrace() -> None:
    source = read("vfs_*\n*:mod:ext4\nvfs_read:traceoff:5\n!vfs_write\n")
    assert [(one.interface, one.target, one.module) for one in source.wanted] == [
        (Interface.FTRACE, "vfs_*", None),
        (Interface.FTRACE, "*", "ext4"),
        (Interface.FTRACE, "vfs_read", None),
    ]
    assert [one.pattern for one in source.wanted] == [True, True, False]
    assert [note.line for note in source.notes] == [4]


def test_the_heading_of_a_table_is_none_of_its_lines() -> None:
    assert [one.target for one in read("symbol,offset\nvfs_read,0\n").wanted] == ["vfs_read"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("two words", "no name of a function"),
        ("vfs_read+x", "no number"),
        ("vfs_read+0x100000000", "more than 32 bits"),
        ("0x10000000000000000", "more than 64 bits"),
        ("vfs_read%hoge", "no suffix"),
        ("vfs_read,-4", "no number"),
        ("\x1b[31mred", "no name of a function"),
        ("naïve", "no name of a function"),
    ],
)
def test_a_bad_line_is_told_and_the_others_are_read(line: str, words: str) -> None:
    source = read(f"vfs_read\n{line}\nvfs_write\nvfs_open\n")
    assert [one.target for one in source.wanted] == ["vfs_read", "vfs_write", "vfs_open"]
    (problem,) = source.problems
    assert problem.line == 2
    assert words in problem.text


@pytest.mark.parametrize(
    "text",
    [
        '["a", "m:b+0x10", {"symbol": "c", "offset": 4, "module": "n"}]',
        '{"probes": ["a", {"name": "m:b", "offset": "0x10"}, "n:c+4"]}',
        '{"symbol": "a"}\n{"function": "m:b", "offset": 16}\n{"call": "n:c", "offset": 4}\n',
    ],
)
def test_json(text: str) -> None:
    assert [(one.module, one.target, one.offset) for one in read(text).wanted] == [
        (None, "a", 0),
        ("m", "b", 16),
        ("n", "c", 4),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["a", 5]', "'5' is no place in a kernel: write \"vfs_read+4\""),
        ('["a", {"offset": 1}]', 'it has no "symbol"'),
        ('["a", {"symbol": "b", "offset": true}]', "no number of 32 bits"),
        ('["a", {"symbol": "b", "offset": -1}]', "no number of 32 bits"),
        ('{"symbol": "a"}\n{"symbol": \n', "is no JSON"),
    ],
)
def test_a_fault_in_json(text: str, words: str) -> None:
    source = read(text)
    assert [one.target for one in source.wanted] == ["a"]
    (problem,) = source.problems
    assert words in problem.text


@pytest.mark.parametrize("text", ["[" * 900 + "]" * 900, '["a"', "[" * 100_000, '{"a":' * 100_000])
def test_no_json(text: str) -> None:
    (problem,) = read_text(text, Path("x.json"), SourceKind.NAMES).problems
    assert problem.text
