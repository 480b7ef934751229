"""Traces of a guest with two CPUs, beside those that its own kernel makes of the same run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from makers.boots import Boots

from kprobesim.asking.shell import Shell

pytestmark = pytest.mark.real_kernel

GUESTS = "/sys/kernel/tracing"
READ = "read x </proc/uptime; cat /proc/version"
READS = f"taskset 1 sh -c '{READ}' & taskset 2 sh -c '{READ}'; wait"
TIME = re.compile(r"(\d+\.\d{6}): ")
TURN_US = 200
"""A CPU may lose its turn between our hook and the guest's own probe."""


def _write(shell: Shell, *lines: tuple[str, str]) -> None:
    """To files of ours, and to the guest's."""
    for file, text in lines:
        shell.kernel.tracefs[file].append(f"{text}\n")
    echoes = [f"echo '{text}' >> {GUESTS}/{file}" for file, text in lines]
    assert shell.run(" && ".join(echoes)) == (0, "")


def _read(shell: Shell, file: str) -> tuple[list[str], list[str]]:
    """Our lines, and the guest's."""
    status, said = shell.run(f"cat {GUESTS}/{file}")
    assert status == 0
    return shell.kernel.tracefs[file].read().splitlines(), said.replace("\r", "").splitlines()


def test_events_beside_the_guests_own(real_image: Path, boots: Boots) -> None:
    shell = boots.shell(real_image, 2)
    events = "events/kprobes"
    _write(
        shell,
        ("kprobe_events", "p:read vfs_read"),
        ("kprobe_events", "r:ret vfs_read ret=$retval"),
        ("kprobe_events", "p:wake try_to_wake_up"),
        (f"{events}/read/filter", 'comm == "sh" && cpu == 1'),
        (f"{events}/ret/filter", 'comm == "sh" && common_cpu >= 0'),
        (f"{events}/wake/filter", 'comm == "sh" || comm == "cat"'),
        (f"{events}/ret/trigger", 'hist:keys=common_cpu,ret if comm == "sh"'),
        *((f"{events}/{name}/enable", "1") for name in ("read", "ret", "wake")),
    )
    assert shell.run(READS)[0] == 0
    _write(shell, ("tracing_on", "0"))
    hist, guests = _read(shell, f"{events}/ret/hist")
    assert hist == guests
    assert {line[: line.index(",")] for line in hist if "common_cpu:" in line} == {
        "{ common_cpu:          0",
        "{ common_cpu:          1",
    }
    for file in ("per_cpu/cpu0/trace", "per_cpu/cpu1/trace"):
        ours, guests = _read(shell, file)
        assert [TIME.sub("", line) for line in ours] == [TIME.sub("", line) for line in guests]
        times = [[float(each) for each in TIME.findall("\n".join(one))] for one in (ours, guests)]
        assert times[0] == sorted(times[0])
        apart = [round((mine - its) * 1e6) for mine, its in zip(*times, strict=True)]
        assert len(apart) > 5
        assert max(apart) - min(apart) <= TURN_US
    merged = shell.kernel.tracefs["trace"].read().splitlines()
    mine = [line for line in merged if "[001]" in line]
    assert mine == [line for line in ours if "[001]" in line] != []
