"""A booted kernel that is asked why, what, and who: real ones, with a shell."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kprobesim import BootedKernel, UsageError
from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.shell import Shell

pytestmark = pytest.mark.real_kernel


@pytest.fixture(scope="module")
def booted(real_image: Path) -> BootedKernel:
    """A guest whose shell waits."""
    return booted_kernel(real_image)


def test_why_a_system_call_failed(booted: BootedKernel) -> None:
    time, printed = booted.time, booted.console.text
    why = booted.why(run="mkdir /tmp", errno="EEXIST")
    assert why.result == "-17 (-EEXIST)"
    assert "mkdir" in why.function
    assert why.branch is not None
    # Where the parent looks its name up; 6.14 has moved the check.
    assert why.branch.function in ("filename_create", "lookup_one_qstr_excl")
    assert why.branch.compared
    assert why.first_failure is not None
    assert why.first_failure.function == why.branch.function
    assert (booted.time, booted.console.text) == (time, printed)
    assert str(why).splitlines()[0].endswith(", the only one that returned -EEXIST")
    with pytest.raises(UsageError, match=r"nobody called .*_sys_swapoff"):
        booted.why("swapoff", run="true")
    with pytest.raises(UsageError, match=r"returned -17 \(-EEXIST\) once, never -EPERM"):
        booted.why("mkdirat" if booted.arch == "arm64" else "mkdir", run="mkdir /tmp", errno=1)
    assert Shell(booted).run("echo $((6 * 7))", 60)[1].strip() == "42"


def test_why_a_call_that_sleeps(booted: BootedKernel) -> None:
    """What others do meanwhile is no part of it."""
    why = booted.why("clock_nanosleep", run="sleep 0.1")
    assert why.result == "0"
    assert [place.symbol.partition("+")[0] for place in why.calls][-1] == "hrtimer_nanosleep"
    assert why.branch is not None
    assert why.branch.function == "do_nanosleep"
    assert "schedule" not in {each.function for each in why.failed}
    assert why.instructions < 50_000


def test_why_a_function_that_is_called_in_it_fails(booted: BootedKernel) -> None:
    place = booted.alloc(8)
    why = booted.why("kstrtoint", "12x", 10, place, errno="EINVAL")
    assert why.branch is not None
    assert why.branch.function == "_kstrtoull"
    assert why.branch.otherwise == "it would have returned 0"
    assert ord("x") in [value.value for value in why.branch.compared]


def test_why_an_access_failed(booted: BootedKernel) -> None:
    place, nowhere = booted.alloc(8), 0xFFFFFF0000001000
    why = booted.why("copy_from_kernel_nofault", place, nowhere, 8)
    assert why.result == "-14 (-EFAULT)"
    assert why.branch is not None
    compared = [(value.name, value.signed) for value in why.branch.compared]
    if why.branch.kind == "fault":
        assert compared == [("address", nowhere - (1 << 64))]
    else:  # ARM64 up to 6.x tests a register that the kernel's fault handler has set
        assert compared[0][1] == -errno.EFAULT


def test_what_a_system_call_calls(booted: BootedKernel) -> None:
    graph = booted.graph("mkdirat" if booted.arch == "arm64" else "mkdir", run="mkdir /tmp/new")
    (root,) = graph.roots
    assert root.left is not None
    functions = {call.function for call in graph}
    assert {"do_mkdirat", "filename_mkdirat"} & functions
    assert str(graph).splitlines()[-1].endswith("us   |  }")


def test_who_counts_the_ticks(booted: BootedKernel) -> None:
    with booted.watch("jiffies") as watch:
        Shell(booted).run("ls -R /proc/sys > /dev/null", 60)
    assert watch.hits > 0
    assert all(access.size == 8 and access.value > access.before for access in watch)
    assert any("swapper" in (access.comm or "") or access.comm for access in watch)


def test_the_first_call_that_fails_is_explained(booted: BootedKernel) -> None:
    why = booted.why("openat", run="cat /proc/version /nowhere /nowhere/either")
    assert why.result == "-2 (-ENOENT)"
    assert why.which is not None
    assert why.which.failed == 2
    assert 1 < why.which.number == why.which.count - 1
    assert "the first of 2 that failed" in str(why).splitlines()[0]
    assert why.which.whole
    none = booted.why("openat", run="cat /proc/version").which
    assert none is not None
    assert (none.number, none.failed) == (1, 0)
    assert str(none).endswith("none of which failed")
