"""The tracer ``function``, and the files that say which functions are traced."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel
from kprobesim.trace.tracefs import Tracefs

ALL, NONE = "#### all functions enabled ####\n", "#### no functions disabled ####\n"


def functions(t: Tracefs) -> list[str]:
    """What the trace says behind the time."""
    lines = t["trace"].read().splitlines()
    return [line.rpartition(": ")[2] for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_probes_and_tracer_on_one_function(guest: CalledKernel, probed: bool, traced: bool) -> None:
    t = guest.tracefs
    t["set_ftrace_filter"].write("crc32_le")
    t["kprobe_events"].append("p:one crc32_le len=$arg3:u64")
    t["events/kprobes/one/enable"].write(str(int(probed)))
    t["current_tracer"].write("function" if traced else "nop")
    guest.call("crc32_le", 0, "123456789", 9)
    shown = functions(t)
    assert sorted(line.partition(" ")[2] == "len=9" for line in shown) == (
        [False] * traced + [True] * probed
    )
    assert all("crc32_le" in line for line in shown)
    t["current_tracer"].write("nop")
    t["trace"].write("")
    guest.call("crc32_le", 0, "123456789", 9)
    assert len(functions(t)) == probed


def test_filters_name_functions(guest: CalledKernel) -> None:
    t = guest.tracefs
    assert (t["set_ftrace_filter"].read(), t["set_ftrace_notrace"].read()) == (ALL, NONE)
    assert t["available_tracers"].read().split()[-2:] == ["function", "nop"]
    listed = t["available_filter_functions"].read().splitlines()
    assert "do_sys_open" in listed and "do_sys_openat2" in listed
    t["set_ftrace_filter"].write("do_sys_*\n")
    chosen = [name for name in listed if name.startswith("do_sys_")]
    assert t["set_ftrace_filter"].read().splitlines() == chosen
    t["set_ftrace_filter"].append("!do_sys_openat2\n")
    t["set_ftrace_filter"].append(f"{listed.index('crc32_le') + 1}\n")
    left = [name for name in listed if name in {*chosen, "crc32_le"} - {"do_sys_openat2"}]
    assert t["set_ftrace_filter"].read().splitlines() == left
    t["set_ftrace_notrace"].write("crc32_le")
    t["current_tracer"].write("function")
    guest.call("do_sys_open", 0, "/", 0, 0)
    guest.call("crc32_le", 0, "123456789", 9)
    shown = functions(t)
    assert shown and {line.split()[0] for line in shown} <= set(left) - {"crc32_le"}
    for word in ("nosuch", "do_sys_open:traceoff", "!nosuch"):
        with pytest.raises(OSError, match=r"Invalid argument|no function|no command"):
            t["set_ftrace_filter"].write(f"{word}\n")
    t["set_ftrace_filter"].write("*:mod:nosuch\n")
    assert t["set_ftrace_filter"].read() == "*:mod:nosuch\n"
    t["set_ftrace_filter"].write("")
    assert t["set_ftrace_filter"].read() == ALL
    with pytest.raises(OSError, match="choose from"):
        t["current_tracer"].write("wakeup")


def test_tasks_that_are_traced(guest: CalledKernel) -> None:
    t = guest.tracefs
    assert t["set_ftrace_pid"].read() == "no pid\n"
    t["set_ftrace_filter"].write("crc32_le")
    t["current_tracer"].write("function")
    guest.call("crc32_le", 0, "123456789", 9)
    (entry,) = guest.tracing.buffer
    t["set_ftrace_pid"].write(str(entry.pid + 1))
    guest.call("crc32_le", 0, "123456789", 9)
    assert len(functions(t)) == 1
    t["options/sym-offset"].write("1")
    t["options/print-parent"].write("0")
    assert functions(t)[0].startswith("crc32_le+0x")
