"""tracefs of a guest that runs, used by a script at the same time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kprobesim import UsageError
from kprobesim.asking.booted import booted_kernel

pytestmark = pytest.mark.real_kernel

SCRIPT = """
echo 'p:forks kernel_clone who=$comm' >> kprobe_events && echo 1 > events/kprobes/forks/enable
head -n 3 trace_pipe
echo 0 > events/enable
echo > kprobe_events
"""
FORKS = "while :; do (: fork); done\n"


def test_a_script_sees_what_happens_while_the_guest_runs(
    any_real_image: Path, tmp_path: Path
) -> None:
    kernel = booted_kernel(any_real_image)
    kernel.console.send(FORKS)
    try:
        mount = kernel.tracefs.mount(tmp_path)
    except UsageError as error:
        pytest.skip(f"no FUSE: {error}")
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with mount, subprocess.Popen(["sh", "-c", SCRIPT], text=True, **options) as script:  # type: ignore[call-overload]
        kernel.run(until=lambda _: script.poll() is not None, timeout=60)
        lines = script.stdout.read().splitlines()
    assert len(lines) == 3
    assert all("forks: (kernel_clone+0x" in line and 'who="init"' in line for line in lines)
    assert kernel.tracefs["kprobe_events"].read() == ""
