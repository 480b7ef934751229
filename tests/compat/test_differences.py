"""Signatures are compared from kernel to kernel where a probe reads arguments by their place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kprobesim.compat.differences import compared
from kprobesim.compat.finding import Answer, AskedKernel, Finding
from kprobesim.compat.kernel_facts import parameters_of
from kprobesim.compat.kinds import Kind
from kprobesim.sources.wanted import Interface, Wanted, WantedArgument

OLD = ("struct inode *dir", "struct dentry *dentry")
NEW = ("struct mnt_idmap *idmap", "struct inode *dir", "struct dentry *dentry")
WANTED = Wanted("kprobe:vfs_unlink", "a.bt", 1, Interface.KPROBE_PERF, "vfs_unlink")
GOOD = Finding(Kind.FTRACE, "through ftrace")


def _kinds(parameters: list[tuple[str, ...] | None], *read: WantedArgument) -> list[list[Kind]]:
    row = [
        Answer(WANTED, AskedKernel(f"{n}", f"{n}.0", f"{n}.0", "x86_64"), (GOOD,), one, read=read)
        for n, one in enumerate(parameters)
    ]
    return [[finding.kind for finding in answer.findings[:-1]] for answer in compared(row)]


def test_the_kernel_that_differs_from_most_is_told() -> None:
    first = WantedArgument("arg0", ordinal=0)
    assert _kinds([OLD, NEW, NEW], first) == [[Kind.ARGUMENT], [], []]


def test_arguments_that_are_not_read_do_not_count() -> None:
    assert _kinds([OLD, (*OLD, "int flags"), OLD], WantedArgument("arg1", ordinal=1)) == [
        [],
        [],
        [],
    ]
    typed = WantedArgument("(struct dentry *)arg0", ordinal=0, type="struct dentry")
    assert _kinds([OLD, NEW, NEW], typed) == [[], [], []]


def test_names_of_parameters_do_not_count() -> None:
    assert _kinds([("struct file *file",), ("struct file *filp",)]) == [[], []]


def test_numbers_and_functions_may_have_types_of_other_names() -> None:
    old = ("unsigned long flags", "int (*done)(struct page *, int)")
    new = ("vm_flags_t flags", "done_fn done")
    assert _kinds([old, new, new], WantedArgument("arg1", ordinal=1)) == [[], [], []]
    assert _kinds([old, new, new]) == [[], [], []]


def test_a_number_that_moved_is_told_by_its_name() -> None:
    old = ("struct sock *sk", "size_t len", "int nonblock", "int flags")
    new = ("struct sock *sk", "size_t len", "int flags")
    assert _kinds([old, new, new], WantedArgument("arg2", ordinal=2)) == [[Kind.ARGUMENT], [], []]


def test_who_reads_nothing_known_gets_a_note() -> None:
    assert _kinds([OLD, NEW, NEW, None]) == [[Kind.SIGNATURE], [], [], []]
    assert _kinds([OLD, None, None]) == [[], [], []]


RESULTS = ["int", "long", "const struct dentry *", "struct dentry *", "bool"]


@pytest.mark.parametrize(
    ("read", "kind"),
    [((WantedArgument("retval", returned=True),), Kind.ARGUMENT), ((), Kind.SIGNATURE)],
)
def test_results_of_another_sort_are_told(read: tuple[WantedArgument, ...], kind: Kind) -> None:
    wanted = replace(WANTED, returns=True)
    row = [
        Answer(wanted, AskedKernel(f"{n}", f"{n}.0", f"{n}.0", "x86_64"), (GOOD,), OLD, one, read)
        for n, one in enumerate(RESULTS)
    ]
    told = [[finding.kind for finding in answer.findings[:-1]] for answer in compared(row)]
    assert told == [[], [], [kind], [kind], []]


def test_parameters_are_taken_from_a_prototype() -> None:
    text = "int sort(void *base, int (*cmp)(const void *, const void *))"
    assert parameters_of(text) == ("void *base", "int (*cmp)(const void *, const void *)")
    assert parameters_of("void schedule(void)") == ()
