"""trace-cmd on a mounted tracefs: what it reads there is what it was written for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kprobesim import CalledKernel, UsageError

Run = Callable[..., str]


@pytest.fixture
def run(guest: CalledKernel, tmp_path: Path) -> Iterator[Run]:
    """Runs a tool in a namespace of a guest's tracefs; the test is skipped where none can be."""
    if shutil.which("trace-cmd") is None or os.geteuid():
        pytest.skip("there is no trace-cmd, or we are not root")
    point = tmp_path / "tracing"
    point.mkdir()
    try:
        mount = guest.tracefs.mount(point)
    except UsageError as error:
        pytest.skip(f"no FUSE: {error}")

    def run(*words: str) -> str:
        command = mount.command(*words)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        if done.returncode == 125:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with mount:
        yield run


def test_trace_cmd_extracts_and_reports(guest: CalledKernel, run: Run) -> None:
    guest.tracefs["kprobe_events"].append("p:one crc32_le text=+0($arg2):string n=$arg2:x64\n")
    guest.tracefs["kprobe_events"].append("r:back crc32_le ret=$retval:u32\n")
    assert run("trace-cmd", "list", "-e") == "kprobes:back\nkprobes:one\n"
    run("trace-cmd", "start", "-e", "kprobes")
    crc = guest.call("crc32_le", 0, "a text", 6)
    run("trace-cmd", "stop")
    n = next(iter(guest.tracing.buffer)).fields["n"]
    assert f'text="a text" n={n:#x}' in run("trace-cmd", "show")
    run("trace-cmd", "extract", "-o", "trace.dat")
    report = run("trace-cmd", "report", "trace.dat")
    assert f'text="a text" n={n:#x}' in report and f"ret={crc}" in report and "cpus=1" in report
    assert len(guest.tracing.buffer) == 0
    run("trace-cmd", "reset")
    assert guest.tracefs["kprobe_events"].read() == ""
