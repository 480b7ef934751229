"""``instances/``: each folder records the kernel's events for itself."""

from __future__ import annotations

import errno

import pytest

from kprobesim import CalledKernel
from kprobesim.trace.tracefs import Tracefs


def numbers(t: Tracefs) -> list[int]:
    """The numbers that were recorded."""
    lines = t["trace"].read().splitlines()
    return [int(line.rpartition("n=")[2]) for line in lines if "n=" in line]


def test_instances_record_for_themselves(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one hweight64 n=$arg1:u64\n")
    t.mkdir("instances/a")
    t.mkdir("instances/b")
    a, b = t.folder("instances/a"), t.folder("instances/b")
    assert t.listdir("instances") == ["a", "b"] and "kprobe_events" not in a
    a["events/kprobes/one/enable"].write("1")
    b["events/enable"].write("1")
    a["events/kprobes/one/filter"].write("n > 1")
    b["events/kprobes/one/trigger"].append("traceoff if n == 2")
    for number in range(4):
        guest.call("hweight64", number)
    assert (numbers(t), numbers(a), numbers(b)) == ([], [2, 3], [0, 1, 2])
    assert [x["tracing_on"].read() for x in (t, a, b)] == ["1\n", "1\n", "0\n"]
    assert [x["events/kprobes/one/enable"].read() for x in (t, a, b)] == ["0\n", "1\n", "1*\n"]
    assert t["events/kprobes/one/filter"].read() == "none\n"
    assert t["kprobe_profile"].read().split() == ["one", "4", "0"]
    t["events/enable"].write("1")
    a["events/enable"].write("0")
    guest.call("hweight64", 7)
    assert (numbers(t), numbers(a)) == ([7], [2, 3])
    t["events/enable"].write("0")
    with pytest.raises(OSError, match="busy"):  # b has it enabled
        t["kprobe_events"].write("")
    t.rmdir("instances/b")
    guest.call("hweight64", 8)
    assert (numbers(t), numbers(a)) == ([7], [2, 3])
    t["kprobe_events"].write("")
    assert "events/kprobes" not in a
    t["kprobe_events"].append("r:two hweight64 n=$retval:u64\n")
    a["events/kprobes/two/enable"].write("1")
    guest.call("hweight64", 7)
    assert a["trace_pipe"].read().count("\n") == 3 and numbers(a) == []


def test_folders_that_cannot_be_made_or_removed(guest: CalledKernel) -> None:
    t = guest.tracefs
    t.mkdir("instances/a")
    for action, number in (
        (lambda: t.mkdir("instances/a"), errno.EEXIST),
        (lambda: t.rmdir("instances/b"), errno.ENOENT),
        (lambda: t.mkdir("events/b"), errno.EPERM),
        (lambda: t["instances/a/current_tracer"].write("function"), errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:
            action()
        assert caught.value.errno == number
