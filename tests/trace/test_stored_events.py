"""Events, their counts and their entries in snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.boots import Boots

from kprobesim import Kernel

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
