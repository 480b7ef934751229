"""Definitions of kprobe_events: what each kernel takes and refuses, recorded from a real 6.1."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.dynevent.error import ProbeEventError
from kprobesim.sources.kprobe_events.definition import parse_definition
from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind, WantedArgument

TAKEN = r"""
r4096 vfs_read
r vfs_read+0
p:foo-1/bar vfs_read
p:foo/a23456789012345678901234567890123456789012345678901234567890123 vfs_read
p vfs_read $arg6
p vfs_read arg1=\""
p vfs_read +0(@11):u8[1]
p vfs_read $comm:string
p vfs_read @11:b10@0/16
p vfs_read @11:b1@15/16
p vfs_read a2345678901234567890123456789012=@11
p vfs_read type=@11
p vfs_read+0%return
p 0xffffffffffffffff
p nomod:vfs_read
p vfs_read $stack512
p vfs_read @vfs_read+4
p vfs_read @linux_banner:string
p vfs_read @0xffffffff81000000
p vfs_read \-1:s8
p vfs_read \1:string
p vfs_read -u8(%si)
p vfs_read +0(+8(%di)):x32
p vfs_read a=%di:u8 b=%di:u16 c=%di:u32 d=%di:u64
p vfs_read a=$stack0:symstr
p vfs_read a=%di:b4@4/32
p vfs_read a=+u0(%si):ustring[2]
r vfs_read $retval:s32
p vfs_read $arg*
p vfs_read file->f_path.dentry
t:x sched_switch prev
f vfs_read%return $retval
e:foo/bar sched.sched_switch
e sched/sched_switch $prev_pid who=$comm +0($filename):string if prev_pid == 1
f10:f/e ext4:ext4_sync_file%return file->f_pos $retval
p vfs_read (file)%di->f_inode.i_ino this_cpu_read(@var):u32 f=file:%pD
p vfs_read $current->pid
r vfs_read $retval:string
p vfs_read +1234567(+1234567(+1234567(+1234567(+1234567(+1234567(@1234))))))
p vfs_read arg1=\"
p:foo/a234567890123456789012345678901234567890123456789012345678901234 vfs_read
""".strip().splitlines()

REFUSED = r"""
1 p100 vfs_read
1 r4097 vfs_read
1 r0 vfs_read
2 p vfs_read+
2 p vfs_read+0x
2 p vfs_read+-1
2 p:/bar vfs_read
2 p:12345678901234567890123456789012345678901234567890123456789012345/bar vfs_read
2 p:foo.1/bar vfs_read
2 p:1foo/bar vfs_read
6 p:foo/12345678901234567890123456789012345678901234567890123456789012345 vfs_read
6 p:foo/bar/baz vfs_read
11 p vfs_read $retval
11 p vfs_read $stack10000
11 p vfs_read $stack-1
11 p vfs_read $stackx
11 p vfs_read $arg
11 p vfs_read $none_var
11 p vfs_read $
11 p vfs_read @0x
11 p vfs_read @0xzz
17 p vfs_read arg1=\x
17 p vfs_read arg1=\
16 p vfs_read arg1="abcd
20 p vfs_read arg1=\"ab cd"
11 p vfs_read +0ab1(@0)
19 p vfs_read +0(+0(@0)
17 p vfs_read +0(+0(@0)))
11 p vfs_read +0
11 p vfs_read +
11 p vfs_read -
11 p vfs_read 'a'
25 p vfs_read +0(@11):u8[10]a
22 p vfs_read +0(@11):u8[10a]
22 p vfs_read +0(@11):u8[256]
22 p vfs_read +0(@11):u8[0]
22 p vfs_read +0(@11):u8[-1]
19 p vfs_read $stack0:u32[4]
18 p vfs_read $stack:u32[4]
15 p vfs_read @11:unknown_type
15 p vfs_read @11:s
15 p vfs_read @11:U8
19 p vfs_read $stack0:string
17 p vfs_read $arg1:string
15 p vfs_read @11:b10@a/16
15 p vfs_read @11:b10@10/16
15 p vfs_read @11:b1@16/16
15 p vfs_read @11:b4@4
15 p vfs_read @11:b4/32
15 p vfs_read @11:b@4/32
11 p vfs_read arg123456789012345678901234567890=@11
20 p vfs_read var1=@11 var1=@12
11 p vfs_read common_pid=@11
11 r vfs_read __probe_ret_ip=@11
10 p vfs_read%hoge
2 p vfs_read+10%return
2 p -1
17 p vfs_read a=%di:int
17 p vfs_read a=%di:size_t
17 p vfs_read a=%di:void
11 p vfs_read $retval:u64
2 p vfs_*
1 f10 vfs_read
1 t10 sched_switch
7 t sched-switch
11 f vfs_read %di
15 t sched_switch $retval
2 e sched_switch
27 e sched.sched_switch $a if
15 p vfs_read file-f_pos
16 p vfs_read file.f_pos
""".strip().splitlines()


@pytest.mark.parametrize("definition", TAKEN)
def test_what_kernels_take(definition: str) -> None:
    assert parse_definition(definition).parsed.symbol or "0xff" in definition


@pytest.mark.parametrize("row", REFUSED)
def test_what_kernels_refuse_and_the_column_of_it(row: str) -> None:
    column, _, definition = row.partition(" ")
    with pytest.raises(ProbeEventError) as caught:
        parse_definition(definition)
    assert caught.value.column == int(column)


def read(text: str) -> Source:
    source = read_text(text, Path("events"))
    assert source.kind is SourceKind.KPROBE_EVENTS
    return source


def test_a_file_of_definitions() -> None:
    source = read(
        "# comment\np:grp/ev ext4:ext4_sync_file+0x10 a=%di:u64 b=+0(%si):string c=@jiffies\n"
        "r16:ret vfs_read $retval $arg2\n-:grp/ev\nf:fp vfs_write\nt sched_switch\n"
        "p 0xffffffff81000000\n"
    )
    assert source.problems == ()
    first = source.wanted[0]
    assert (first.module, first.target, first.offset) == ("ext4", "ext4_sync_file", 16)
    assert (first.program, first.line) == ("ev", 2)
    assert first.arguments == (
        WantedArgument("a=%di:u64", register="di"),
        WantedArgument("b=+0(%si):string", register="si"),
        WantedArgument("c=@jiffies", symbol="jiffies"),
    )
    assert source.wanted[1].arguments == (
        WantedArgument("$retval", returned=True),
        WantedArgument("$arg2", ordinal=1),
    )
    assert [(one.interface, one.returns) for one in source.wanted[1:4]] == [
        (Interface.KPROBE_EVENTS, True),
        (Interface.FPROBE_EVENTS, False),
        (Interface.TPROBE_EVENTS, False),
    ]
    assert source.wanted[4].address == 0xFFFFFFFF81000000
    assert [note.line for note in source.notes] == [4]


def test_a_bad_line_is_told_with_its_column_and_the_others_are_read() -> None:
    source = read("p vfs_read\np vfs_read $retval\nx\np vfs_write\n")
    assert [one.target for one in source.wanted] == ["vfs_read", "vfs_write"]
    assert [(one.line, one.column) for one in source.problems] == [(2, 12), (3, 1)]


def test_a_shell_script_that_echoes_definitions() -> None:
    source = read(
        "#!/bin/sh\nset -e\ncd /sys/kernel/tracing\n"
        "echo 'p:a vfs_read $arg1' > kprobe_events\n"
        "echo 1 > events/kprobes/a/enable\n"
        "sudo sh -c \"echo 'r:b vfs_write' >> /sys/kernel/debug/tracing/kprobe_events\"\n"
        "echo p:c vfs_open | sudo tee -a /sys/kernel/tracing/kprobe_events\n"
    )
    assert [(one.program, one.target, one.line) for one in source.wanted] == [
        ("a", "vfs_read", 4),
        ("b", "vfs_write", 6),
        ("c", "vfs_open", 7),
    ]
    assert source.problems == ()


def test_the_parameter_of_the_boot_loader() -> None:
    source = read("quiet kprobe_event=p,vfs_read,$arg1;r:x,vfs_write ro\n")
    assert [(one.target, one.returns) for one in source.wanted] == [
        ("vfs_read", False),
        ("vfs_write", True),
    ]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("r:kprobes/testevent do_exit", "another kind of probe"),
        ("p:testevent kernel_clone bcd=\\1", "other arguments"),
        ("p:testevent kernel_clone abcd=\\1:u8", "other arguments"),
        ("p:testevent vfs_read", "other arguments"),
        ("p:testevent kernel_clone abcd=\\1", "the very same probe"),
    ],
)
def test_an_event_may_have_several_probes_that_are_alike(second: str, words: str) -> None:
    first = "p:kprobes/testevent kernel_clone abcd=\\1\n"
    source = read(f"{first}p:testevent kernel_clone abcd=\\2\np:other/testevent x\n{second}\n")
    assert len(source.wanted) == 3
    (problem,) = source.problems
    assert (problem.line, words in problem.text) == (4, True)


@pytest.mark.parametrize("removal", ["-:kprobes/testevent", "-:testevent", "-:kprobes/"])
def test_a_removed_event_may_be_made_anew(removal: str) -> None:
    source = read(f"p:testevent f\n{removal}\nr:testevent g\n")
    assert source.problems == ()
    assert len(source.wanted) == 2


def test_a_file_that_is_written_anew_has_no_events() -> None:
    source = read(
        "echo 'p:e f' > kprobe_events\necho 'r:e g' >> kprobe_events\n"
        "echo 'r:e h' > kprobe_events\n"
    )
    assert [one.target for one in source.wanted] == ["f", "h"]
    assert [problem.line for problem in source.problems] == [2]


def test_a_probe_reads_no_more_values_than_the_kernel_keeps() -> None:
    values = [f"+{8 * number}(%ax):u64" for number in range(129)]
    assert len(parse_definition(" ".join(("p vfs_read", *values[:128]))).arguments) == 128
    with pytest.raises(ProbeEventError, match="Too many arguments"):
        parse_definition(" ".join(("p vfs_read", *values)))
