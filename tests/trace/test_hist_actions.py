"""Synthetic events, variables and actions of hist triggers, by the files of tracefs."""

from __future__ import annotations

import errno
import re

import pytest

from kprobesim import CalledKernel, SyntheticError
from kprobesim.trace.tracefs import Tracefs


def _fetch(guest: CalledKernel) -> str:
    return "%di" if guest.arch == "x86_64" else "%x0"


_SECOND = {"x86_64": "si", "arm64": "x1"}


@pytest.fixture
def files(guest: CalledKernel) -> Tracefs:
    """Two events with the same key, and a synthetic one."""
    files = guest.tracefs
    fetch = _fetch(guest)
    files["kprobe_events"].write(f"p:t/a gcd num={fetch}:u32\n")
    files["kprobe_events"].append(f"p:t/b hweight64 num={fetch}:u32\n")
    files["synthetic_events"].append("late u64 late; u32 num")
    return files


def _refusal(files: Tracefs, path: str, text: str) -> tuple[int | None, str]:
    files["error_log"].write("\n")
    with pytest.raises(OSError) as caught:
        files[path].append(text)
    found = re.search("error: (.*)\n", files["error_log"].read())
    return caught.value.errno, found[1] if found else ""


def test_synthetic_events_are_listed_and_have_a_format(files: Tracefs) -> None:
    files["synthetic_events"].append("other char c[16]; unsigned int n; char text[]")
    listing = "late\tu64 late; u32 num\nother\tchar[16] c; unsigned int n; char[] text\n"
    assert files["synthetic_events"].read() == listing
    text = files["events/synthetic/other/format"].read()
    assert "\tfield:char c[16];\toffset:8;\tsize:16;\tsigned:1;\n" in text
    assert "\tfield:unsigned int n;\toffset:264;\tsize:4;\tsigned:0;\n" in text
    assert "\tfield:__data_loc char[] text;\toffset:272;\tsize:8;\tsigned:1;\n" in text
    assert text.endswith('print fmt: "c=%s, n=%u, text=%s", REC->c, REC->n, __get_str(text)\n')
    files["synthetic_events"].append("!other")
    assert files["synthetic_events"].read() == "late\tu64 late; u32 num\n"


@pytest.mark.parametrize(
    ("command", "number", "said"),
    [
        ("late u64 x", errno.EEXIST, "Event already exists"),
        ("one u64", errno.EINVAL, "Command must be of the form: <name> field[;field] ..."),
        ("1x u64 x", errno.EINVAL, "Illegal name"),
        ("one u7 x", errno.EINVAL, "Invalid type"),
        ("one char x[n]", errno.EINVAL, "Invalid array specification"),
        ("one u64 a; unsigned long", errno.EINVAL, "Incomplete type"),
        ("!none", errno.ENOENT, ""),
    ],
)
def test_synthetic_events_that_are_refused(
    files: Tracefs, command: str, number: int, said: str
) -> None:
    assert _refusal(files, "synthetic_events", command) == (number, said)
    with pytest.raises(SyntheticError):
        files["synthetic_events"].append(command)


def test_the_time_from_one_event_to_another(guest: CalledKernel, files: Tracefs) -> None:
    """The example of the kernel's own documentation, with a histogram of what it finds."""
    files["events/t/a/trigger"].append("hist:keys=num:ts0=common_timestamp")
    late = "hist:keys=num:late=common_timestamp-$ts0:onmatch(t.a).trace(late,$late,num)"
    files["events/t/b/trigger"].append(late)
    files["events/synthetic/late/trigger"].append("hist:keys=num:vals=late if num != 3")
    files["events/synthetic/late/filter"].write("num > 4")
    files["events/synthetic/late/enable"].write("1")
    assert _refusal(files, "synthetic_events", "!late")[0] == errno.EBUSY
    assert (
        _refusal(files, "events/t/a/trigger", "!hist:keys=num:ts0=common_timestamp")[0]
        == errno.EBUSY
    )
    for number in (3, 4, 5, 5):
        guest.call("gcd", number, 1)
        guest.call("hweight64", number)
    guest.call("hweight64", 5)  # what was measured from is read only once
    lines = [str(entry) for entry in guest.tracing.buffer]
    assert [line.partition("late: ")[2].split(" ")[1] for line in lines] == ["num=5", "num=5"]
    text = files["events/synthetic/late/hist"].read()
    assert "{ num:          4 } hitcount:          1  late:" in text
    assert "{ num:          5 } hitcount:          2  late:" in text
    assert "num:          3" not in text
    assert "Hits: 4\n" in files["events/t/b/hist"].read()
    assert files["events/t/b/trigger"].read() == (
        "hist:keys=num:vals=hitcount:late=common_timestamp-$ts0:sort=hitcount:size=2048:clock=global"
        ":onmatch(t.a).trace(late,$late,num) [active]\n"
    )


def test_what_is_largest_and_what_changes_is_kept(guest: CalledKernel, files: Tracefs) -> None:
    files["events/t/a/trigger"].append(
        "hist:keys=common_cpu:most=num:onmax($most).save(num.hex,num)"
    )
    files["events/t/b/trigger"].append("hist:keys=common_cpu:now=num:onchange($now).snapshot()")
    files["events/t/b/enable"].write("1")
    for number in (2, 7, 5):
        guest.call("gcd", number, 1)
        guest.call("hweight64", number)
    text = files["events/t/a/hist"].read()
    assert "hitcount:          3\n\tmax:          7  num.hex:          7  num:          7\n" in text
    shown = "triggering value { onchange($now) }:          5\ttriggered by event with key: "
    assert shown in files["events/t/b/hist"].read()
    assert len(guest.tracing.snapshot) > 0
    second = "hist:keys=num:more=num:onmax($more).snapshot()"
    assert _refusal(files, "events/t/a/trigger", second)[0] == errno.EBUSY


REFUSED = {
    "hist:keys=$ts0": "Couldn't find variable",
    "hist:keys=num:v=$none": "Couldn't find variable",
    "hist:keys=num:vv=num:onmax(vv).save(common_pid)": (
        "For onmax(x) or onchange(x), x must be a variable"
    ),
    "hist:keys=num:vv=num:onmax($no).save(common_pid)": "Couldn't find onmax or onchange variable",
    "hist:keys=num:vv=num:onmax($vv).save(n)": "Invalid action param",
    "hist:keys=num:vv=num:onmatch(t.none).late($vv,$vv)": "Invalid subsystem or event name",
    "hist:keys=num:vv=num:onmatch(t.a).none($vv,$vv)": "Couldn't find synthetic event",
    "hist:keys=num:vv=num:onmatch(t.a).trace(late,$vv,$vv)": (
        "Param type doesn't match synthetic event field type"
    ),
    "hist:keys=num:vv=num:onmatch(t.a).save(num)": "Handler doesn't support action",
    "hist:keys=num:vv=num:onmatch(t.a)": "No action found",
}


@pytest.mark.parametrize("trigger", REFUSED)
def test_triggers_that_are_refused(files: Tracefs, trigger: str) -> None:
    assert _refusal(files, "events/t/b/trigger", trigger) == (errno.EINVAL, REFUSED[trigger])
    assert "hist:" not in files["events/t/b/trigger"].read()


def test_a_field_of_the_event_that_is_matched_is_a_variable(
    guest: CalledKernel, files: Tracefs
) -> None:
    files["kprobe_events"].append(
        f"p:t/c gcd num={_fetch(guest)}:u32 other=%{_SECOND[guest.arch]}:u32"
    )
    files["synthetic_events"].append("both u32 num; u32 other")
    matched = "hist:keys=num:vals=hitcount:sort=hitcount:size=2048 if num > 3 [active]\n"
    files["events/t/c/trigger"].append("hist:keys=num if num > 3")
    trigger = "hist:keys=num:onmatch(t.c).both(num,other)"
    assert _refusal(files, "events/t/b/trigger", trigger.replace("other", "none")) == (
        errno.EINVAL,
        "Couldn't find field",
    )
    files["events/t/b/trigger"].append(trigger)
    assert files["events/t/c/trigger"].read() == matched + matched.replace(
        "hitcount:sort", "hitcount:synthetic_other=other:sort"
    )
    files["events/synthetic/both/enable"].write("1")
    for number in (3, 4, 5):
        guest.call("gcd", number, number + 10)
        guest.call("hweight64", number)
    lines = [str(entry) for entry in guest.tracing.buffer]
    assert [line.partition("both: ")[2] for line in lines] == [
        "num=4 other=14",
        "num=5 other=15",
    ]
    files["events/t/b/trigger"].append(f"!{trigger}")
    assert files["events/t/c/trigger"].read() == matched
