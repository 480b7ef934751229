"""kprobe events by the files of tracefs, in a guest whose functions are called."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kprobesim import CalledKernel


def errno_of(action: Callable[[], object]) -> int | None:
    """What ``action`` fails with."""
    with pytest.raises(OSError) as caught:
        action()
    return caught.value.errno


def lines(guest: CalledKernel) -> list[str]:
    """What the trace says behind its columns."""
    found = (re.search(r"\d: (\w+:.*)", line) for line in guest.tracefs["trace"])
    return [match[1] for match in found if match]


def test_from_a_definition_to_its_lines_and_away(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].write("p:digest crc32_le len=$arg3:u64 text=+0($arg2):string\n")
    assert "events/kprobes/digest/format" in t
    assert t.listdir("events")[:2] == ["kprobes", "enable"]
    assert t["events/kprobes/digest/enable"].read() == "0\n"
    guest.call("crc32_le", 0, b"abc\0", 3)
    t["events/kprobes/digest/enable"].write("1\n")
    assert t["set_event"].read() == "kprobes:digest\n" == t["available_events"].read()
    guest.call("crc32_le", 0, b"text\0", 4)
    (line,) = lines(guest)
    assert re.fullmatch(r'digest: \(crc32_le\+0x0/0x\w+\) len=4 text="text"', line)
    assert re.fullmatch(r"  digest +1 +0\n", t["kprobe_profile"].read())
    assert errno_of(lambda: t["kprobe_events"].write("")) == errno.EBUSY
    t["events/enable"].write("0")
    t["kprobe_events"].append("-:digest")
    assert t["kprobe_events"].read() == "" == t["available_events"].read()
    assert "events/kprobes" not in t
    assert lines(guest) == [line]
    t["trace"].write("")
    assert lines(guest) == []


def test_several_lines_and_what_is_refused(guest: CalledKernel) -> None:
    t = guest.tracefs
    text = (
        "p:one crc32_le\n# a comment\n\nr:two fnv1a32 $retval\n"
        "p:three crc32_le %nosuch\np:four crc32_le\n"
    )
    assert errno_of(lambda: t["kprobe_events"].append(text)) == errno.EINVAL
    assert [line.split()[0].partition(":")[2] for line in t["kprobe_events"]] == [
        "kprobes/one",
        "kprobes/two",
    ]
    t["dynamic_events"].append("!p:one crc32_le\n-:two")
    assert t["dynamic_events"].read() == ""


def test_switches_of_groups_show_a_mixture(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one crc32_le\np:other/two fnv1a32\np:other/three hweight64")
    assert t["events/enable"].read() == "0\n"
    t["set_event"].append("other:two")
    assert [t[f"events/{group}enable"].read() for group in ("", "other/", "kprobes/")] == [
        "X\n",
        "X\n",
        "0\n",
    ]
    t["set_event"].append("one three !two")
    assert t["set_event"].read() == "other:three\nkprobes:one\n"
    t["set_event"].write("two")
    assert t["set_event"].read() == "other:two\n"
    assert errno_of(lambda: t["set_event"].append("nosuch")) == errno.EINVAL
    assert errno_of(lambda: t["events/enable"].write("2")) == errno.EINVAL


def test_the_pipe_takes_what_it_gives(guest: CalledKernel) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one hweight64 $arg1:x64")
    t["events/kprobes/enable"].write("1")
    for number in (1, 2):
        guest.call("hweight64", number)
    pipe = t.open("trace_pipe", os.O_RDONLY | os.O_NONBLOCK)
    first = pipe.read(40, 0)
    rest = pipe.read(4096, 40)
    assert [line.rpartition("=")[2] for line in (first + rest).decode().splitlines()] == [
        "0x1",
        "0x2",
    ]
    assert errno_of(lambda: pipe.read(10, 999)) == errno.EAGAIN
    assert t["trace_pipe"].read() == "" and lines(guest) == []
    assert "entries-in-buffer/entries-written: 0/2" in t["trace"].read()


def test_markers_and_the_switch_of_the_buffer(guest: CalledKernel) -> None:
    t = guest.tracefs
    assert t["trace_marker"].append("hello\n") == 6
    t["tracing_on"].write("0")
    assert errno_of(lambda: t["trace_marker"].write("unheard")) == errno.EBADF
    t["tracing_on"].write("1")
    t["options/markers"].write("0")
    assert errno_of(lambda: t["trace_marker"].write("unheard")) == errno.EINVAL
    assert lines(guest) == ["tracing_mark_write: hello"]
    assert errno_of(lambda: t["trace_marker"].read()) == errno.EINVAL


def test_options_clocks_and_sizes(guest: CalledKernel) -> None:
    t = guest.tracefs
    assert t["buffer_size_kb"].read() == "7 (expanded: 1408)\n"
    t["trace_options"].write("noirq-info")
    assert t["options/irq-info"].read() == "0\n" and "irqs-off" not in t["trace"].read()
    for path, text in (
        ("trace_options", "raw"),
        ("trace_options", "nosuch"),
        ("options/overwrite", "2"),
        ("trace_clock", "counter"),
        ("trace_clock", "nosuch"),
        ("current_tracer", "wakeup"),
        ("buffer_size_kb", "0"),
    ):
        assert errno_of(lambda p=path, w=text: t[p].write(w)) == errno.EINVAL, path  # type: ignore[misc]
    t["trace_options"].write("noraw")  # as it is
    t["trace_clock"].write("mono\n")
    assert "[mono]" in t["trace_clock"].read()
    t["buffer_size_kb"].write("12")
    assert t["buffer_size_kb"].read() == t["per_cpu/cpu0/buffer_size_kb"].read() == "15\n"


def test_events_wait_for_their_module_and_outlive_it(
    guest: CalledKernel, sample: Path, arch: str
) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:added kprobesim_sample:sample_add number=\\7")
    t["events/kprobes/enable"].write("1")
    for _ in range(2):
        guest.load_module(sample.parent / f"module-{arch}.ko")
        guest.call("sample_add", 2, 3)
        guest.unload_module("kprobesim_sample")
        t["events/kprobes/enable"].write("0")
        t["events/kprobes/enable"].write("1")
    (first, second) = lines(guest)
    assert first == second and first.endswith("number=0x7")
    assert re.fullmatch(r"  added +2 +0\n", t["kprobe_profile"].read())
