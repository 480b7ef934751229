"""``k.graph()``: function_graph's text."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, UsageError
from kprobesim.trace.graph import CallGraph, GraphCall


def test_calls_are_nested(guest: CalledKernel) -> None:
    graph = guest.graph("do_sys_open", 0, "/nowhere", 0, 0)
    (root,) = graph.roots
    assert root.function == "do_sys_open"
    (openat2,) = root.calls
    assert [call.function for call in openat2.calls] == ["strncpy_from_user", "lookup_file"]
    assert {call.function for call in openat2.calls[1].calls} == {"strcmp"}
    assert root.duration is not None
    assert openat2.duration is not None
    assert root.duration > openat2.duration > 0
    lines = str(graph).splitlines()
    assert lines[4].endswith("|  do_sys_open() {")
    assert lines[5].endswith("|    do_sys_openat2() {")
    assert lines[-1].endswith("us    |  }")


def test_the_text_is_the_kernels() -> None:
    graph = CallGraph()
    inner = [GraphCall("_cond_resched", 0, 0, 219), GraphCall("memset", 0, 0, 10_500)]
    graph.roots = [GraphCall("getname", 0, 0, 1_234_567, inner), GraphCall("never", 0, 0)]
    assert str(graph).splitlines()[4:] == [
        " 0)               |  getname() {",
        " 0)   0.219 us    |    _cond_resched();",
        " 0) + 10.500 us   |    memset();",
        " 0) # 1234.567 us |  }",
        " 0)               |  never() {",
    ]


def test_a_graph_has_a_bound(guest: CalledKernel) -> None:
    graph = guest.graph("do_sys_open", 0, "/nowhere", 0, 0, most=2)
    assert (len(graph), graph.full) == (2, True)
    graph = guest.graph("do_sys_open", 0, "/nowhere", 0, 0, deepest=1)
    assert (len(graph), graph.full) == (1, False)


def test_a_line_is_for_booted_guests(guest: CalledKernel) -> None:
    with pytest.raises(UsageError, match="booted to a shell"):
        guest.graph("gcd", run="ls")
    with pytest.raises(UsageError, match="leave them out"):
        guest.graph("gcd", 1, 2, run="ls")
