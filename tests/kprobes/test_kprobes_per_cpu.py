"""Probes on a real kernel that runs on two CPUs: each has a control block of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kprobesim import Hit, HitKind, Kernel, Kprobe, Kretprobe, programs

pytestmark = pytest.mark.real_kernel


def test_hits_of_two_cpus(real_arm64_image: Path) -> None:
    k = Kernel.boot(real_arm64_image, cpus=2, append="quiet")
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
    by_cpu = k.count("try_to_wake_up", key=programs.cpu)
    rp = Kretprobe("vfs_read", handler=lambda ri, regs: nested.append(k.cpu))
    k.register_kretprobe(rp)
    assert rp.maxactive == max(10, 2 * 2)
    k.run()
    cpus = Counter(cpu for cpu, _ in seen)
    assert set(cpus) == {0, 1}
    assert len(blocks) == 2
    assert dict(by_cpu.items()) == cpus
    assert Counter(cpu for kind, cpu in told if kind is HitKind.HIT) == cpus
    assert p.nmissed == 0
    assert rp.nmissed == 0
    assert nested
