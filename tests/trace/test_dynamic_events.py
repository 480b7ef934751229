"""``dynamic_events``: events of kprobes and synthetic ones in one list."""

from __future__ import annotations

import errno

import pytest

from kprobesim import CalledKernel, ProbeEventError, SyntheticError


def test_both_kinds_stand_in_the_order_of_their_definition(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["dynamic_events"].append("p:g/one hweight64\ns:synthetic/late u64 when; char what[]\n")
    t["kprobe_events"].append("r:g/two hweight64\n")
    t["synthetic_events"].append("later s32 when\n")
    t["dynamic_events"].append("s:last pid_t who\n")
    lines = t["dynamic_events"].read().splitlines()
    assert [line.split()[0] for line in lines] == [
        "p:g/one",
        "s:synthetic/late",
        "r10:g/two",
        "s:synthetic/later",
        "s:synthetic/last",
    ]
    assert lines[1] == "s:synthetic/late\tu64 when; char[] what"
    t["dynamic_events"].append("-:synthetic/late\n!:last\n-:two\n")
    assert t["dynamic_events"].read().count("\n") == 2
    assert t["synthetic_events"].read() == "later\ts32 when\n"
    t["dynamic_events"].write("")
    assert t["dynamic_events"].read() == t["kprobe_events"].read() == ""


@pytest.mark.parametrize(
    ("command", "number", "said"),
    [
        ("s:other/late u64 when", errno.EINVAL, "s or -:[synthetic/]<name>"),
        ("s:late", errno.EINVAL, "<name> field[;field]"),
        ("s:late u64", errno.EINVAL, "<name> field[;field]"),
        ("s:1late u64 when", errno.EINVAL, "Illegal name"),
        ("s:there u64 when", errno.EEXIST, "Event already exists"),
    ],
)
def test_what_the_kernel_refuses(guest: CalledKernel, command: str, number: int, said: str) -> None:
    t = guest.tracefs
    t["synthetic_events"].append("there u64 when\n")
    with pytest.raises(SyntheticError) as caught:
        t["dynamic_events"].append(command)
    assert caught.value.errno == number
    assert said in t["error_log"].read()


def test_an_event_of_no_kind_or_that_is_not_there_is_refused(guest: CalledKernel) -> None:
    t = guest.tracefs
    for command, number in (("x:late u64 when", errno.EINVAL), ("-:late", errno.ENOENT)):
        with pytest.raises(ProbeEventError) as caught:
            t["dynamic_events"].append(command)
        assert caught.value.errno == number
