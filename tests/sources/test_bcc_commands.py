"""Command lines of BCC's tools: which probe, what is read, and what is no probe of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind, Wanted


def read(text: str) -> Source:
    return read_text(text, Path("tools.sh"))


def one(text: str) -> Wanted:
    source = read(text)
    assert source.kind is SourceKind.BCC
    assert source.problems == ()
    (wanted,) = source.wanted
    return wanted


@pytest.mark.parametrize(
    ("command", "target", "reads"),
    [
        ("trace-bpfcc vfs_read", "vfs_read", []),
        ("sudo /usr/share/bcc/tools/trace -p 1 -T 'vfs_read \"%s\", arg2@user'", "vfs_read", [1]),
        ("trace 'p::vfs_read (arg3 > 9) \"arg1 %d\", arg3' | head", "vfs_read", [2]),
        ("trace 'r::vfs_read \"%d\", retval'", "vfs_read", [None]),
        ("trace.py -p $(pidof a) 'p::vfs_read(struct file *file)'", "vfs_read", [0]),
        ("trace 'p::__x64_sys_openat \"%s\", arg2'", "__x64_sys_openat", []),
        ("argdist-bpfcc -C 'p::__kmalloc(size_t size):size_t:size#n' -i 5", "__kmalloc", [0]),
        ("argdist -H 'r::vfs_read():int:$retval'", "vfs_read", [None]),
        ("./trace \\\n  'p::vfs_read' 2>&1", "vfs_read", []),
    ],
)
def test_a_function_and_what_is_read(command: str, target: str, reads: list[int | None]) -> None:
    wanted = one(command)
    assert (wanted.interface, wanted.target) == (Interface.KPROBE_PERF, target)
    assert [argument.ordinal for argument in wanted.arguments] == reads
    assert all(argument.returned == (argument.ordinal is None) for argument in wanted.arguments)


@pytest.mark.parametrize(
    ("command", "target", "is_regex"),
    [
        ("funccount 'vfs_*' 5", "vfs_*", False),
        ("funccount-bpfcc -d 5 -r '^(tcp|udp)_s.*'", "^(tcp|udp)_s.*", True),
        ("stackcount.py -P p::tcp_* # don't", "tcp_*", False),
        ("funclatency -mr 'vfs_(read|write)'", "vfs_(read|write)", True),
    ],
)
def test_patterns(command: str, target: str, is_regex: bool) -> None:
    wanted = one(command)
    assert (wanted.target, wanted.pattern, wanted.regex) == (target, True, is_regex)


def test_places_and_returns() -> None:
    assert one("trace 'vfs_read+0x10 \"%d\", arg1'").offset == 16
    assert one("funclatency vfs_read").returns
    targets = [wanted.target for wanted in read("funcslower -m 5 vfs_read vfs_write").wanted]
    assert targets == ["vfs_read", "vfs_write"]


def test_fields_of_events() -> None:
    wanted = one("trace 't:block:block_rq_complete \"%d\", args->nr_sector, args->data_loc_cmd'")
    assert (wanted.interface, wanted.target) == (Interface.TRACEPOINT, "block:block_rq_complete")
    assert [argument.name for argument in wanted.arguments] == ["nr_sector", "cmd"]


def test_programs_are_noted_and_wrong_ones_told() -> None:
    source = read(
        "#!/bin/sh\ntrace 'r:bash:readline'\nfunccount c:malloc_*\ntrace 'z::a'\n"
        "argdist -C 'vfs_read'\ntrace 'p::a+b'\ntrace 'vfs_read\n"
    )
    assert [note.line for note in source.notes] == [2, 3]
    assert [problem.line for problem in source.problems] == [4, 5, 6, 7]
    assert source.wanted == ()


def test_prose_is_no_command() -> None:
    assert read("trace what the kernel does\nfunccount counts functions\n").wanted == ()
