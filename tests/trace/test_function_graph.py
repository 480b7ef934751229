"""The tracer ``function_graph``, and the files that say what of it is recorded and shown."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from kprobesim import CalledKernel
from kprobesim.trace.tracefs import Tracefs

Graph = Callable[..., list[str]]


@pytest.fixture
def graph(guest: CalledKernel) -> Graph:
    """Traces a call of do_sys_open with settings, and gives the lines without times."""
    pytest.importorskip("llvmlite")

    def graph(**settings: str) -> list[str]:
        t = guest.tracefs
        t["current_tracer"].write("nop")
        for name, value in settings.items():
            t[name].write(value)
        t["current_tracer"].write("function_graph")
        guest.call("do_sys_open", 0, "/", 0, 0)
        return lines_of(t)

    return graph


def lines_of(t: Tracefs) -> list[str]:
    """The lines of the trace, with T for times."""
    text = re.sub(r"\) [ +!#*@$] [\d.]+ us *\|", ") T |", t["trace"].read())
    return [line for line in text.splitlines() if not line.startswith("#")]


WHOLE = [" 0)               |  do_sys_open() {", " 0) T |    do_sys_openat2();", " 0) T |  }"]


def test_calls_inside_of_calls(guest: CalledKernel, graph: Graph) -> None:
    assert graph(set_ftrace_filter="do_sys_*") == WHOLE
    t = guest.tracefs
    assert t["trace"].read().splitlines()[2].split() == "# CPU DURATION FUNCTION CALLS".split()
    entries = list(guest.tracing.buffer)
    assert [entry.name for entry in entries] == [
        *["funcgraph_entry"] * 2,
        *["funcgraph_exit"] * 2,
    ]
    outer, inner = entries[-1].fields, entries[-2].fields
    assert [inner["depth"], outer["depth"]] == [1, 0] and outer["rettime"] == entries[-1].time
    assert outer["calltime"] == entries[0].time <= inner["calltime"] < inner["rettime"]
    t["trace"].write("")
    guest.call("do_sys_openat2", 0, "/", 0, 0)
    assert lines_of(t) == [" 0) T |  do_sys_openat2();"]


SETTINGS: list[tuple[str, str, str, list[str]]] = [
    ("set_graph_function", "do_sys_openat2", "", [" 0) T |  do_sys_openat2();"]),
    ("set_graph_notrace", "do_sys_openat2", "", [" 0) T |  do_sys_open();"]),
    ("set_graph_notrace", "do_sys_open", "", []),
    ("set_ftrace_notrace", "do_sys_open", "", [" 0) T |  do_sys_openat2();"]),
    ("max_graph_depth", "1", "0", [" 0) T |  do_sys_open();"]),
    ("options/funcgraph-tail", "1", "0", [*WHOLE[:2], " 0) T |  } /* do_sys_open */"]),
    ("tracing_thresh", "1000000", "0", []),
    ("set_ftrace_pid", "4000", "", []),
]


def test_what_is_recorded_and_shown(guest: CalledKernel, graph: Graph) -> None:
    for name, value, before, shown in SETTINGS:
        lines = graph(set_ftrace_filter="do_sys_*", **{name: value})
        assert lines == shown, name
        guest.tracefs[name].write(before)
    assert graph() == WHOLE


def test_events_are_comments(guest: CalledKernel, graph: Graph) -> None:
    t = guest.tracefs
    t["kprobe_events"].append("p:one crc32_le len=$arg3:u64")
    t["events/enable"].write("1")
    assert graph(set_ftrace_filter="do_sys_*") == WHOLE
    guest.call("crc32_le", 0, "123456789", 9)
    t["trace_marker"].write("marked")
    comment, mark = (line for line in lines_of(t) if "/*" in line)
    assert comment.startswith(" 0)               |  /* one: (crc32_le+0x0/")
    assert comment.endswith(") len=9 */")
    assert mark == " 0)               |  /* marked */"
