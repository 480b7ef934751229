"""bpftrace's scripts: attach points, preamble, what bodies read, and what is no script."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind, Wanted

PATH = Path("script.bt")


def read(text: str) -> Source:
    source = read_text(text, PATH)
    assert source.kind is SourceKind.BPFTRACE
    return source


def one(text: str) -> Wanted:
    source = read(text)
    assert source.problems == ()
    (wanted,) = source.wanted
    return wanted


def place(wanted: Wanted) -> tuple[object, ...]:
    return wanted.interface, wanted.module, wanted.target, wanted.offset


@pytest.mark.parametrize(
    ("point", "interface", "module", "target", "offset"),
    [
        ("kprobe:vfs_read", Interface.KPROBE_PERF, None, "vfs_read", 0),
        ("k:vfs_read", Interface.KPROBE_PERF, None, "vfs_read", 0),
        ("kprobe:vfs_read+16", Interface.KPROBE_PERF, None, "vfs_read", 16),
        ("kprobe:vfs_read+0x10", Interface.KPROBE_PERF, None, "vfs_read", 16),
        ('kprobe:"lookup_fast.constprop.0"+8', Interface.KPROBE_PERF, None,
         "lookup_fast.constprop.0", 8),
        ("kprobe:ext4:ext4_sync_file", Interface.KPROBE_PERF, "ext4", "ext4_sync_file", 0),
        ("kprobe:ext4:ext4_sync_file+4", Interface.KPROBE_PERF, "ext4", "ext4_sync_file", 4),
        ("f:vfs_read", Interface.FENTRY, None, "vfs_read", 0),
        ("kfunc:vmlinux:vfs_read", Interface.FENTRY, None, "vfs_read", 0),
        ("fentry:ext4:ext4_sync_file", Interface.FENTRY, "ext4", "ext4_sync_file", 0),
        ("tracepoint:sched:sched_switch", Interface.TRACEPOINT, None, "sched:sched_switch", 0),
        ("t:sched:sched_switch", Interface.TRACEPOINT, None, "sched:sched_switch", 0),
        ("rawtracepoint:sched_switch", Interface.RAW_TRACEPOINT, None, "sched_switch", 0),
        ("rt:mod:event", Interface.RAW_TRACEPOINT, "mod", "event", 0),
        ("iter:task", Interface.ITER, None, "task", 0),
    ],
)  # fmt: skip
def test_an_attach_point(
    point: str, interface: Interface, module: str | None, target: str, offset: int
) -> None:
    wanted = one(f"{point} {{ @ = count(); }}")
    assert place(wanted) == (interface, module, target, offset)
    assert (wanted.text, wanted.line, wanted.returns, wanted.pattern) == (point, 1, False, False)


@pytest.mark.parametrize("point", ["kretprobe:f", "kr:f", "fexit:f", "fr:f", "kretfunc:f"])
def test_a_return_probe(point: str) -> None:
    assert one(point + " { }").returns


def test_an_address_and_a_pattern() -> None:
    assert one("kprobe:0xffffffff81000000 { }").address == 0xFFFFFFFF81000000
    assert one("kprobe:vfs_* { }").pattern
    wanted = one("tracepoint:syscalls:sys_enter_exec* { }")
    assert (wanted.target, wanted.pattern) == ("syscalls:sys_enter_exec*", True)


def test_a_pattern_of_providers_stands_for_each() -> None:
    assert {(one.interface, one.returns) for one in read("k*probe:f { }\nk:g {}").wanted} == {
        (Interface.KPROBE_PERF, False),
        (Interface.KPROBE_PERF, True),
    }


def test_several_attach_points_are_alternatives_and_share_the_body() -> None:
    source = read("kprobe:a,\n  kprobe:b, // the other name\n/arg1 / 2 > 1/\n{ @[arg0] = 1; }")
    assert [(one.target, one.line, one.alternatives) for one in source.wanted] == [
        ("a", 1, ("b",)),
        ("b", 2, ("a",)),
    ]
    assert [[read.ordinal for read in one.arguments] for one in source.wanted] == [[1, 0]] * 2


@pytest.mark.parametrize(
    ("value", "optional"), [("warn", True), ("ignore", True), ("error", False)]
)
def test_missing_probes_may_be_allowed(value: str, optional: bool) -> None:
    script = f'config = {{ missing_probes = "{value}"; stack_mode=perf }}\nkprobe:f {{ }}'
    assert one(script).optional is optional


def test_what_has_no_kernel_function_is_noted() -> None:
    points = ["BEGIN", "END", "interval:s:1", "profile:hz:99", "uprobe:/bin/sh:main", "usdt:/x:y"]
    source = read("".join(f"{point} {{ }}\n" for point in points))
    assert source.wanted == ()
    assert source.problems == ()
    assert [note.line for note in source.notes] == [1, 2, 3, 4, 5, 6]


def test_comments_strings_and_preamble_are_passed_over() -> None:
    source = read(
        "#!/usr/bin/env bpftrace\n/* kprobe:no { } */\n#include <linux/fs.h>\n"
        "#define X \\\n  kprobe:no { }\n"
        "struct mine { int a; struct { int b; } c; };\nenum e { A, B }\n"
        'config = { max_map_keys = 1 }\nimport "lib.bt";\nlet @a = lruhash(100);\n'
        "macro add($x) { $x + 1 }\nfn f($x : int64) : void { }\n"
        'kprobe:yes // { }\n{ printf("} kprobe:no { // /* \\" "); if (1) { } }\n'
    )
    assert [(one.target, one.line) for one in source.wanted] == [("yes", 13)]
    assert source.problems == ()
    assert "lib.bt" in source.notes[0].text


def test_the_kernels_types_count_where_there_is_btf() -> None:
    source = read(
        "#ifndef BPFTRACE_HAVE_BTF\nkprobe:no { }\n#else\nkprobe:yes { }\n#endif\n"
        "#ifdef OTHER\nkprobe:also { }\n#endif\n"
    )
    assert [one.target for one in source.wanted] == ["yes", "also"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("@[arg0] = arg10;", [("arg0", 0), ("arg10", 10)]),
        ("print(((struct file *)arg0)->f_path.dentry);",
         [("((struct file *)arg0)->f_path.dentry", 0, "struct file", ("f_path", "dentry"))]),
        ("$f = (struct file *)arg0; print($f->f_path.dentry->d_name.name);",
         [("(struct file *)arg0", 0, "struct file"),
          ("$f->f_path.dentry->d_name.name", 0, "struct file",
           ("f_path", "dentry", "d_name", "name"))]),
        ("$a = ((struct a *)arg1)->b[2]; print($a.c);",
         [("((struct a *)arg1)->b[2]", 1, "struct a", ("b",)),
          ("$a.c", 1, "struct a", ("b", "c"))]),
        ("print((uint64)arg2);", [("(uint64)arg2", 2)]),
        ("$s = (struct sock *)arg0; $t = (struct tcp_sock *)$s; print($t->copied_seq);",
         [("(struct sock *)arg0", 0, "struct sock"),
          ("(struct tcp_sock *)$s", None, "struct tcp_sock"),
          ("$t->copied_seq", None, "struct tcp_sock", ("copied_seq",))]),
    ],
)  # fmt: skip
def test_arguments_that_a_body_reads(body: str, expected: list[tuple[object, ...]]) -> None:
    read = one(f"kprobe:f {{ {body} }}").arguments
    found = [(value.text, value.ordinal, value.type, value.members) for value in read]
    assert found == [(*value, *(None, ())[len(value) - 2 :]) for value in expected]


def test_named_arguments_return_values_and_the_task() -> None:
    text = 'fexit:f { print(args.file->f_pos); print(args->n); print(retval); print(kaddr("x")); }'
    found = [
        (value.name, value.members, value.returned, value.symbol) for value in one(text).arguments
    ]
    assert found == [
        ("file", ("f_pos",), False, None),
        ("n", (), False, None),
        (None, (), True, None),
        (None, (), False, "x"),
    ]
    (task,) = one("kprobe:f { print(curtask->real_parent->pid); }").arguments
    assert (task.type, task.members) == ("struct task_struct", ("real_parent", "pid"))
    (size,) = one("kprobe:f { print(offsetof(struct file, f_path.dentry)); }").arguments
    assert (size.type, size.members) == ("struct file", ("f_path", "dentry"))


def test_a_map_keeps_the_type_for_another_probe() -> None:
    source = read(
        "kprobe:f { @s[tid] = (struct sock *)arg0; }\n"
        "kretprobe:f /@s[tid]/ { print(@s[tid]->sk_family); delete(@s[tid]); }"
    )
    (value,) = source.wanted[1].arguments
    assert (value.ordinal, value.type, value.members) == (None, "struct sock", ("sk_family",))


def test_a_struct_of_the_script_is_not_the_kernels() -> None:
    (value,) = one(
        "struct mine { int a; }\nkprobe:f { print(((struct mine *)arg0)->a); }"
    ).arguments
    assert (value.ordinal, value.type, value.members) == (0, None, ())


def test_a_tracepoint_has_fields_and_no_arguments() -> None:
    source = read("tracepoint:a:b, kprobe:f { print(args.x); print(arg0); }")
    assert [[value.text for value in one.arguments] for one in source.wanted] == [
        ["args.x"],
        ["args.x", "arg0"],
    ]


def test_override_changes_the_return_value() -> None:
    assert one("kprobe:f { override(-1); }").overrides
    assert not one("kprobe:f { @override = 1; }").overrides


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("kretprobe:f+4 { }", 1, "takes no offset"),
        ("\nkprobe:f+4+5 { }", 2, "no number"),
        ("kprobe:f:g:h { }", 1, "names behind colons"),
        ("kprobe: { }", 1, "names behind colons"),
        ("tracepoint:sched { }", 1, "a category and an event"),
        ("kprob:f { }", 1, "no kind of probe 'kprob'"),
        ("kprobe:$1 { }", 1, "parameter of the command line"),
        ("kprobe:f kprobe:g { }", 1, "a comma to the next"),
        ("kprobe:f /pid == 1 { }", 1, "second / is missing"),
        ("config = ", 1, "a block in { } is missing"),
        ("kprobe:f { ", 1, "never closed"),
        ("kprobe:f", 1, "an action in { } is missing"),
        ("kprobe:f { } }", 1, "closes nothing"),
        ("{ }", 1, "begins no probe"),
        (", ", 1, "begins no probe"),
        ("macro x", 1, "a block in { } is missing"),
    ],
)  # fmt: skip
def test_a_fault_has_its_line_and_the_others_are_read(text: str, line: int, words: str) -> None:
    source = read("k:before { }\n" + text)
    assert source.wanted[0].target == "before"
    assert any(fault.line == line + 1 and words in fault.text for fault in source.problems)


def test_one_liners_in_a_shell_script() -> None:
    source = read_text(
        "#!/bin/sh\nsudo bpftrace -v -e 'kprobe:a\n{ @ = count(); }' &\n"
        'bpftrace -e "k:b {}" | sort -e x\n',
        Path("run.sh"),
    )
    assert source.kind is SourceKind.BPFTRACE
    assert [(one.target, one.line) for one in source.wanted] == [("a", 2), ("b", 4)]


@pytest.mark.parametrize(
    "text",
    [
        "kprobe:f { " + "(" * 10_000,
        "kprobe:f { " + "@a[" * 5_000,
        "kprobe:f { " + "(struct a *)" * 5_000,
        "kprobe:f { $x = " + "$x = " * 5_000,
        "kprobe:f " + "{" * 10_000,
        'kprobe:f { "' + '\\"' * 20_000,
        "/*" * 20_000,
        "kprobe:a," * 2_000 + " { }",
        "#if 1\n" * 5_000 + "kprobe:f { }",
    ],
    ids=lambda text: text[:20],
)
def test_hostile_scripts_are_answered(text: str) -> None:
    assert read_text(text, PATH).kind is SourceKind.BPFTRACE
