"""Events, their counts and their entries in snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.boots import Boots

from kprobesim import Kernel
from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.shell import Shell

pytestmark = pytest.mark.real_kernel


def test_a_snapshot_keeps_events_and_entries(
    real_image: Path, boots: Boots, tmp_path: Path
) -> None:
    k = boots.at_run_init(real_image)
    k.kprobe_events.command("p:t/a getname_kernel s=+0($arg1):string")
    k.kprobe_events.command("r:t/b getname_kernel ret=$retval")
    k.tracing.events["t/a"].enabled = True
    k.call("getname_kernel", "/etc/one")
    path = tmp_path / "events.kps"
    k.snapshot(path)
    resumed = Kernel.resume(path)
    assert resumed.tracing.text() == k.tracing.text()
    assert resumed.tracing.profile() == k.tracing.profile()
    assert resumed.kprobe_events.read() == k.kprobe_events.read()
    resumed.call("getname_kernel", "/etc/two")
    names = [entry.fields["s"] for entry in resumed.tracing.buffer]
    assert [name for name in names if name.startswith("/etc/")] == ["/etc/one", "/etc/two"]
    assert resumed.tracing.events["t/a"].hits == len(names)
    assert not resumed.tracing.events["t/b"].enabled


def test_a_snapshot_keeps_triggers_tracers_and_calls_that_go_on(
    any_real_image: Path, tmp_path: Path
) -> None:
    k = booted_kernel(any_real_image)
    t = k.tracefs
    t["kprobe_events"].append("p:one vfs_read n=$arg3:u64\nr:two vfs_read ret=$retval:s64\n")
    t["events/kprobes/one/trigger"].append("hist:keys=n.log2,common_pid.execname:sort=n if n > 0")
    t["synthetic_events"].append("late u64 late")
    t["events/kprobes/one/trigger"].append("hist:keys=common_pid:ts=common_timestamp")
    latency = "hist:keys=common_pid:late=common_timestamp-$ts:onmatch(kprobes.one).late($late)"
    t["events/kprobes/two/trigger"].append(latency)
    t["events/kprobes/two/trigger"].append("disable_event:kprobes:one:3 if ret == 7")
    t["events/kprobes/two/trigger"].append("snapshot:1 if ret == 7")
    t.mkdir("instances/own")
    own = t.folder("instances/own")
    own["events/kprobes/two/filter"].write("ret > 1")
    own["events/kprobes/one/trigger"].append("hist:keys=n if n > 2")
    own["events/kprobes/two/enable"].write("1")
    t["events/enable"].write("1")
    t["set_ftrace_filter"].write("vfs_open\n")
    t["current_tracer"].write("function")
    Shell(k).run("cat /proc/version")  # and then it waits in a read()
    path = tmp_path / "triggers.kps"
    k.snapshot(path)
    resumed = Kernel.resume(path)
    files = [f"events/kprobes/{name}/trigger" for name in ("one", "two")]
    files += ["synthetic_events", "events/kprobes/one/hist", "events/kprobes/two/hist"]
    files += ["kprobe_profile", "trace", "set_ftrace_filter", "snapshot", "dynamic_events"]
    in_own = ["trace", "events/kprobes/one/hist", "events/kprobes/two/filter", "tracing_on"]
    files += [f"instances/own/{name}" for name in in_own]
    for kernel in (k, resumed):
        Shell(kernel).run("cat /proc/version")
    texts = [[kernel.tracefs[name].read() for name in files] for kernel in (k, resumed)]
    assert texts[0] == texts[1] and "count=3" in texts[0][1]
