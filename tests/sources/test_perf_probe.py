"""Definitions of perf probe: places by symbol, by line, by pattern; options; shell scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind, WantedArgument


def read(text: str) -> Source:
    return read_text(text, Path("probes"), SourceKind.PERF_PROBE)


@pytest.mark.parametrize(
    ("definition", "event", "target", "offset", "returns", "file", "place"),
    [
        ("vfs_read", None, "vfs_read", 0, False, None, None),
        ("vfs_read+0x10", None, "vfs_read", 16, False, None, None),
        ("vfs_read%return", None, "vfs_read", 0, True, None, None),
        ("ev=vfs_read", "ev", "vfs_read", 0, False, None, None),
        ("grp:ev=vfs_read@fs/read_write.c", "ev", "vfs_read", 0, False, "fs/read_write.c", None),
        ("vfs_read:5", None, "vfs_read", 0, False, None, "vfs_read:5"),
        ("vfs_read;return*", None, "vfs_read", 0, False, None, "vfs_read;return*"),
        ("fs/open.c:120", None, "", 0, False, "fs/open.c", "fs/open.c:120"),
        ("fs/open.c;*=0", None, "", 0, False, "fs/open.c", "fs/open.c;*=0"),
    ],
)
def test_a_definition(
    definition: str, event: str | None, target: str, offset: int, returns: bool, file: str | None,
    place: str | None,
) -> None:  # fmt: skip
    (wanted,) = read(definition).wanted
    assert wanted.interface is Interface.KPROBE_EVENTS
    assert (wanted.program, wanted.target, wanted.offset) == (event, target, offset)
    assert (wanted.returns, wanted.file, wanted.source_place) == (returns, file, place)


def test_arguments() -> None:
    (wanted,) = read(
        "vfs_read count file->f_path.dentry x=buf[3]:u8 %di @jiffies $vars $arg2 p=pos:x64@user"
    ).wanted
    assert wanted.arguments == (
        WantedArgument("count", name="count"),
        WantedArgument("file->f_path.dentry", name="file", members=("f_path", "dentry")),
        WantedArgument("x=buf[3]:u8", name="buf"),
        WantedArgument("%di", register="di"),
        WantedArgument("@jiffies", symbol="jiffies"),
        WantedArgument("$vars"),
        WantedArgument("$arg2", ordinal=1),
        WantedArgument("p=pos:x64@user", name="pos"),
    )
    (returned,) = read("vfs_read%return ret=$retval").wanted[0].arguments
    assert returned.returned


def test_a_shell_script() -> None:
    source = read_text(
        "#!/bin/sh\nperf probe -q -m ext4 --add 'ext4_sync_file datasync' \\\n"
        "  --add='r=ext4_fsync_journal%return $retval'\n"
        "perf probe vfs_read count && perf record -e probe:vfs_read -a\n"
        "perf probe -x /bin/sh main\nperf probe -d 'probe:*'\nperf probe -L vfs_read\n",
        Path("x.sh"),
    )
    assert source.kind is SourceKind.PERF_PROBE
    assert [(one.module, one.target, one.line) for one in source.wanted] == [
        ("ext4", "ext4_sync_file", 2),
        ("ext4", "ext4_fsync_journal", 2),
        (None, "vfs_read", 4),
    ]
    assert source.problems == ()
    assert [note.line for note in source.notes] == [5]


def test_a_command_whose_quotes_do_not_end() -> None:
    source = read("perf probe vfs_write\nperf probe --add 'vfs_read\n")
    assert [one.target for one in source.wanted] == ["vfs_write"]
    (problem,) = source.problems
    assert "quotes do not end" in problem.text


def test_a_pattern() -> None:
    assert read("vfs_*").wanted[0].pattern


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vfs_read%hoge", "no suffix"),
        ("vfs_read:", "a line or a pattern"),
        ("vfs_read:x", "a line or a pattern"),
        ("vfs_read+x", "no number"),
        ("+vfs_read", "is no FUNCTION"),
        ("vfs_read a+b", "no argument"),
        ("sdt_libc:x", "in a program"),
        ("'vfs_read", "quotes do not end"),
    ],
)
def test_a_fault_is_told_and_the_others_are_read(line: str, words: str) -> None:
    source = read(f"vfs_write\n{line}\n")
    assert [one.target for one in source.wanted] == ["vfs_write"]
    (problem,) = source.problems
    assert problem.line == 2
    assert words in problem.text
