"""BCC's tools: calls that attach, questions that guard them, and the C text."""

from __future__ import annotations

from pathlib import Path

from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface, Source, SourceKind, Wanted, WantedArgument

HEAD = "#!/usr/bin/env python3\nfrom bcc import BPF\n"


def read(text: str) -> Source:
    source = read_text(HEAD + text, Path("tool"))
    assert source.kind is SourceKind.BCC
    assert source.problems == ()
    return source


def places(source: Source) -> list[tuple[Interface, str, bool]]:
    return [(one.interface, one.target, one.returns) for one in source.wanted]


def one(text: str) -> Wanted:
    (wanted,) = read(text).wanted
    return wanted


def test_calls_that_attach() -> None:
    source = read(
        'b.attach_kprobe(event="vfs_read", fn_name="f")\n'
        "b.attach_kretprobe(event=b'vfs_read',\n    fn_name='g')\n"
        "b.attach_kprobe(event=b.get_syscall_fnname('openat'), fn_name='syscall__openat')\n"
        'name = b.get_syscall_fnname("execve")\nb.attach_kprobe(event=name, fn_name="h")\n'
        'other = "vfs_write"\nb.attach_kprobe(event=other, fn_name="h")\n'
        'b.attach_tracepoint(tp="sched:sched_switch", fn_name="t")\n'
        'b.attach_raw_tracepoint(tp="sched_switch", fn_name="t")\n'
        "b.attach_kprobe(event=args.function, fn_name='x')\n"
    )
    assert places(source) == [
        (Interface.KPROBE_PERF, "vfs_read", False),
        (Interface.KPROBE_PERF, "vfs_read", True),
        (Interface.SYSCALL, "openat", False),
        (Interface.SYSCALL, "execve", False),
        (Interface.KPROBE_PERF, "vfs_write", False),
        (Interface.TRACEPOINT, "sched:sched_switch", False),
        (Interface.RAW_TRACEPOINT, "sched_switch", False),
    ]
    assert [wanted.line for wanted in source.wanted] == [3, 4, 6, 8, 10, 11, 12]
    assert [note.line for note in source.notes] == [13]


def test_a_regular_expression_is_whole() -> None:
    wanted = one(r'b.attach_kprobe(event_re="^a$|^a\.isra\.\d$", fn_name="f")' + "\n")
    assert (wanted.target, wanted.regex, wanted.pattern) == (r"^(?:^a$|^a\.isra\.\d$)$", True, True)


def test_what_stands_below_a_question_may_be_missing() -> None:
    source = read(
        "if BPF.get_kprobe_functions(b'a'):\n    b.attach_kprobe(event='a', fn_name='f')\n"
        "elif BPF.get_kprobe_functions(b'b'):\n    # a comment\n\n"
        "    b.attach_kprobe(event='b', fn_name='f')\n"
        "else:\n    b.attach_kprobe(event='c', fn_name='f')\n"
        "b.attach_kprobe(event='d', fn_name='f')\n"
        "if args.all:\n    b.attach_kprobe(event='e', fn_name='f')\n"
    )
    assert [(one.target, one.optional, one.alternatives) for one in source.wanted] == [
        ("a", True, ("b", "c")),
        ("b", True, ("a", "c")),
        ("c", True, ("a", "b")),
        ("d", False, ()),
        ("e", False, ()),
    ]


def test_what_is_tried_may_be_missing() -> None:
    source = read(
        "try:\n    b.attach_kprobe(event='__vfs_read', fn_name='f')\nexcept Exception:\n"
        "    b.attach_kprobe(event='vfs_read', fn_name='f')\n"
    )
    assert [(one.target, one.optional, one.alternatives) for one in source.wanted] == [
        ("__vfs_read", True, ("vfs_read",)),
        ("vfs_read", True, ("__vfs_read",)),
    ]


def test_names_that_are_put_together_are_noted() -> None:
    source = read(
        "b.attach_kprobe(event_re='^' + name, fn_name='f')\n"
        "b.attach_tracepoint(tp='%s:%s' % (a, b), fn_name='f')\n"
        "TRACEPOINT_PROBE(preemptirq, TYPE_disable)\ntext = text.replace('TYPE', 'irq')\n"
    )
    assert source.wanted == ()
    assert [note.line for note in source.notes] == [3, 4, 5]


def test_functions_of_the_c_text_and_their_parameters() -> None:
    source = read(
        'text = """\n'
        "int kprobe__tcp_sendmsg(struct pt_regs *ctx, struct sock *sk,\n    size_t size) { }\n"
        "int kretprobe__f(struct pt_regs *ctx) { }\n"
        "TRACEPOINT_PROBE(block, block_rq_issue) { }\nRAW_TRACEPOINT_PROBE(sched_switch) { }\n"
        "KRETFUNC_PROBE(vfs_open, const struct path *path, int ret) { }\nLSM_PROBE(file_open) { }\n"
        "KFUNC_PROBE(FNNAME) { }\n"
        "int entry(struct pt_regs *ctx, struct file *file, char __user *buf) { }\n"
        '"""\nb.attach_kprobe(event="vfs_read", fn_name="entry")\n'
    )
    assert places(source) == [
        (Interface.KPROBE_PERF, "vfs_read", False),
        (Interface.TRACEPOINT, "block:block_rq_issue", False),
        (Interface.RAW_TRACEPOINT, "sched_switch", False),
        (Interface.FEXIT, "vfs_open", True),
        (Interface.LSM, "file_open", False),
        (Interface.KPROBE_PERF, "tcp_sendmsg", False),
        (Interface.KPROBE_PERF, "f", True),
    ]
    assert source.wanted[0].arguments == (
        WantedArgument("struct file *file", ordinal=0, type="struct file"),
        WantedArgument("char __user *buf", ordinal=1),
    )
    assert source.wanted[3].arguments == (
        WantedArgument("const struct path *path", ordinal=0, type="struct path"),
        WantedArgument("int ret", ordinal=1, returned=True),
    )
    assert [read.type for read in source.wanted[5].arguments] == ["struct sock", None]
    assert [note.line for note in source.notes] == [11]


def test_typed_probes_are_optional_where_the_tool_asks_for_btf() -> None:
    assert one("if BPF.support_kfunc():\n    pass\nKFUNC_PROBE(vfs_read) { }\n").optional
    assert not one("KFUNC_PROBE(vfs_read) { }\n").optional


def test_a_text_of_one_line() -> None:
    source = read("BPF(text='int kprobe__sys_clone(void *ctx) { return 0; }')\n")
    assert places(source) == [(Interface.KPROBE_PERF, "sys_clone", False)]


def test_system_calls_by_their_prefix() -> None:
    source = read(
        "name = b.get_syscall_prefix().decode() + 'openat2'\nb.attach_kprobe(event=name)\n"
        "b.attach_kprobe(event=b.get_syscall_prefix() + b'open', fn_name='f')\n"
    )
    assert places(source) == [
        (Interface.SYSCALL, "openat2", False),
        (Interface.SYSCALL, "open", False),
    ]


def test_a_variable_holds_what_it_was_given_last() -> None:
    source = read(
        "name = 'a'\nb.attach_kprobe(event=name)\nname = 'b'\nb.attach_kprobe(event=name)\n"
        "if BPF.get_kprobe_functions(b'c'):\n    name = 'c'\nelse:\n    name = 'd'\n"
        "b.attach_kprobe(event=name)\n"
    )
    assert [(one.target, one.alternatives) for one in source.wanted] == [
        ("a", ()),
        ("b", ()),
        ("c", ("d",)),
        ("d", ("c",)),
    ]


def test_a_variable_that_holds_an_answer_is_a_question() -> None:
    source = read(
        "has = BPF.tracepoint_exists('block', 'block_io_start')\n"
        "if has:\n    text += of_event\nelse:\n    text += plain\n"
        "if not has:\n    if BPF.get_kprobe_functions(b'a'):\n"
        "        b.attach_kprobe(event='a', fn_name='f')\n"
        "    else:\n        b.attach_kprobe(event='b', fn_name='f')\n"
        'of_event = """\nTRACEPOINT_PROBE(block, block_io_start) { }\n"""\n'
    )
    assert [(one.target, one.optional, len(one.alternatives)) for one in source.wanted] == [
        ("a", True, 2),
        ("b", True, 2),
        ("block:block_io_start", True, 2),
    ]


def test_what_is_added_if_it_is_there_may_be_missing_without_another() -> None:
    wanted = one(
        'extra = """\nTRACEPOINT_PROBE(kmem, kmalloc_node) { }\n"""\n'
        "if BPF.tracepoint_exists('kmem', 'kmalloc_node'):\n    text += extra\n"
    )
    assert (wanted.optional, wanted.alternatives) == (True, ())


def test_versions_that_the_text_is_for() -> None:
    source = read(
        'text = """\n#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 10, 11)\n'
        "int kprobe__tty_write(struct pt_regs *ctx, struct file *file) { }\n#else\n"
        'int kprobe__tty_write(struct pt_regs *ctx, struct kiocb *iocb) { }\n#endif\n"""\n'
    )
    assert [str(one.versions) for one in source.wanted] == ["before 5.10.11", "since 5.10.11"]


def test_a_function_that_the_tool_has_twice_says_nothing_of_arguments() -> None:
    wanted = one(
        'old = """\nint f(struct pt_regs *ctx, struct inode *dir) { }\n"""\n'
        'new = """\nint f(struct pt_regs *ctx, struct renamedata *rd) { }\n"""\n'
        "b.attach_kprobe(event='vfs_rename', fn_name='f')\n"
    )
    assert wanted.arguments == ()


def test_a_pointer_to_pointers_is_taken_for_no_struct() -> None:
    wanted = one('x = """\nint kprobe__f(struct pt_regs *ctx, struct scatterlist **sgs) { }\n"""')
    assert [read.type for read in wanted.arguments] == [None]
