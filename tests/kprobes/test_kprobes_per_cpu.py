"""Probes on a real kernel that runs on two CPUs: each has a control block of its own."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import BootedKernel, Hit, HitKind, Kernel, Kprobe, Kretprobe, programs
from kprobesim.boot.round_robin import RoundRobin

pytestmark = pytest.mark.real_kernel


def test_hits_of_two_cpus(real_image: Path) -> None:
    k = Kernel.boot(real_image, cpus=2, append="quiet")
    k.tracefs["kprobe_events"].write("p:wake try_to_wake_up\n")
    k.tracefs["events/kprobes/wake/enable"].write("1")
    k.tracefs["buffer_size_kb"].write("20")
    told: list[tuple[HitKind, int]] = []
    seen: list[tuple[int, int]] = []
    blocks: set[int] = set()
    nested: list[int] = []

    def pre(p: Kprobe, regs: Any) -> None:
        ctl = k.kprobes.ctlblk[k.cpu]
        assert ctl.kprobe_instance is p
        assert k.kprobes.ctlblk[1 - k.cpu].current_kprobe is None
        blocks.add(id(ctl))
        task = k.current
        seen.append((k.cpu, task.pid if task is not None else -1))

    def listen(hit: Hit) -> None:
        if hit.probe.addr == p.addr:
            told.append((hit.kind, hit.cpu))

    p = Kprobe("try_to_wake_up", pre_handler=pre)
    k.register_kprobe(p)
    k.on_hit(listen)
    by_cpu = k.count("try_to_wake_up", per_cpu=True)
    same = k.count("try_to_wake_up", key=programs.cpu)
    rp = Kretprobe("vfs_read", handler=lambda ri, regs: nested.append(k.cpu))
    k.register_kretprobe(rp)
    assert rp.maxactive == max(10, 2 * 2)
    k.run()
    cpus = Counter(cpu for cpu, _ in seen)
    assert set(cpus) == {0, 1}
    assert len(blocks) == 2
    assert dict(by_cpu.items()) == dict(same.items()) == cpus
    assert Counter(cpu for kind, cpu in told if kind is HitKind.HIT) == cpus
    assert p.nmissed == 0
    assert rp.nmissed == 0
    assert nested
    _check_traces(k, cpus)


def _check_traces(k: BootedKernel, hits: Counter[int]) -> None:
    """What each CPU has written is in a buffer of its own."""
    files, entries = k.tracefs, [*k.tracing.buffer]
    assert Counter(entry.cpu for entry in entries).keys() == {0, 1}
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)
    text = files["trace"].read().splitlines()
    assert text[2].endswith("#P:2")
    lines = [line for line in text if not line.startswith("#")]
    assert len(lines) == len(entries)
    kept = 0
    for cpu in (0, 1):
        folder = f"per_cpu/cpu{cpu}"
        mine = files[f"{folder}/trace"].read().splitlines()
        assert mine[2] == text[2]
        shown = [line for line in mine if not line.startswith("#")]
        assert shown == [line for line in lines if f" [{cpu:03}] " in line]
        stats = dict(line.split(": ", 1) for line in files[f"{folder}/stats"].read().splitlines())
        assert int(stats["entries"]) == len(shown)
        assert int(stats["entries"]) + int(stats["overrun"]) == hits[cpu]
        kept += len(shown)
    assert kept == len(entries)
    assert files["tracing_cpumask"].read() == "3\n"
    files["per_cpu/cpu1/trace"].write("")
    assert {entry.cpu for entry in k.tracing.buffer} == {0}
    files["per_cpu/cpu1/buffer_size_kb"].write("100")
    assert files["buffer_size_kb"].read() == "X\n"
    one, other = (int(files[f"per_cpu/cpu{cpu}/buffer_size_kb"].read()) for cpu in (0, 1))
    assert one < other
    assert files["buffer_total_size_kb"].read() == f"{one + other}\n"


def test_hooks_leave_no_trace_in_short_turns(real_image: Path, boots: Boots) -> None:
    """CPUs lose their turn every few blocks, also in the middle of a hit: nothing changes."""
    ends = []
    for probed in (False, True):
        shell = boots.shell(real_image, 2)
        k, board = shell.kernel, shell.kernel.board
        assert board.turns is not None
        board.turns.policy = RoundRobin(25)
        before, after, returned = (Counter[tuple[str, int]]() for _ in range(3))

        def pre(p: Kprobe, regs: Any, k: Any = k, count: Any = before) -> None:
            count[p.symbol_name, k.cpu] += 1

        def post(p: Kprobe, regs: Any, flags: int, k: Any = k, count: Any = after) -> None:
            count[p.symbol_name, k.cpu] += 1

        names = ("vfs_read", "kmem_cache_alloc", "__schedule", "dput")
        probes = [Kprobe(name, pre_handler=pre, post_handler=post) for name in names]
        rp = Kretprobe("vfs_read", handler=lambda ri, regs, c=returned: c.update(["vfs_read"]))
        if probed:
            k.register_kprobes(probes)
            k.register_kretprobe(rp)
        status, said = shell.run("cat /proc/version", 60)
        digest = hashlib.sha1(board.ram).hexdigest()
        ends.append((status, said, k.time, k.machine.regs.ip, board.turns.switches, digest))
    assert ends[0] == ends[1]
    assert before == after
    assert {cpu for _, cpu in before} == {0, 1}
    assert [p.nmissed for p in probes] == [0] * 4 and rp.nmissed == 0
    assert returned.total() == sum(n for (name, _), n in before.items() if name == "vfs_read")
