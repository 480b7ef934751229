"""A booted guest's CPU has come to a breakpoint of ours, and its turn ends: who takes it out waits.

x86 since 5.5 (text_poke_sync()) and ARM64 (stop_machine()) wait for the hit when the breakpoint is
taken out; before that the trap finds neither probe nor breakpoint, and tries again. Whoever
unregisters a probe waits in any kernel until no hit is on its way (synchronize_rcu()).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import BootedKernel, Kprobe, KprobeFlag
from kprobesim.asking.shell import Shell
from kprobesim.boot.policy import SwitchPoint
from kprobesim.image import load_image
from kprobesim.kprobes.model import MODELS

pytestmark = pytest.mark.real_kernel

READ = "read x < /proc/version; echo $x"
READS = f"taskset 1 sh -c '{READ}' & taskset 2 sh -c '{READ}'; wait"
BEHIND_FTRACE = {"x86_64": 5, "arm64": 8}
"""Bytes of vfs_read() that ftrace may use; the instruction behind is in the same block."""


class InMidBlock:
    """A CPU that comes to vfs_read() is stopped when it has executed its first block."""

    blocks = 20_000
    at = ("vfs_read",)

    def __init__(self, between: Callable[[SwitchPoint], object]) -> None:
        """``between`` is called when it has been."""
        self._between = between
        self._stopped = False

    def pick(self, point: SwitchPoint) -> tuple[int, int]:
        """The same one for a block, and then the other one."""
        if point.why == "place":
            self._stopped = True
            return point.last, 1
        if self._stopped:
            self._stopped = False
            self._between(point)
        others = [cpu for cpu in point.runnable if cpu != point.last]
        return (others or point.runnable)[0], self.blocks


def _guest(boots: Boots, image: Path, model: str) -> tuple[BootedKernel, Shell]:
    """A guest of two CPUs with the kprobes of another kernel, if that is wanted."""
    k = boots.shell(image, 2).kernel
    other = BootedKernel(k.image, k.board, MODELS[model], init_freed=True)
    return other, Shell(other)


def test_a_probe_goes_while_a_cpu_is_on_its_way(real_image: Path, boots: Boots) -> None:
    models = {"x86_64": ("5.4", "6.1"), "arm64": ("6.1",)}  # all of ARM64's wait
    for model in models[load_image(real_image).arch]:
        _let_it_go(real_image, boots, model)


def _let_it_go(real_image: Path, boots: Boots, model: str) -> None:
    k, shell = _guest(boots, real_image, model)
    hits = k.board.hits
    told: list[tuple[str, int]] = []
    found: list[tuple[str, tuple[str, ...]]] = []

    def take_out(who: str, others: set[int]) -> None:
        """If another CPU is on its way: unregister the probe, and then register it again."""
        if not others:
            return
        told.clear()
        k.unregister_kprobe(probe)
        assert not hits.on_their_way
        assert [ctl.current_kprobe for ctl in k.kprobes.ctlblk].count(None) >= 1
        assert {cpu for _, cpu in told} <= others
        found.append((who, tuple(name for name, _ in told)))
        probe.addr, probe.flags = None, KprobeFlag(0)
        k.register_kprobe(probe, arming="breakpoint")

    def in_handler(p: Kprobe, regs: Any) -> None:
        take_out("handler", {*hits.on_their_way} - {k.cpu})

    def in_time(_point: SwitchPoint) -> None:
        if len(found) % 2:
            take_out("between runs", {*hits.on_their_way})

    probe = Kprobe(
        "vfs_read",
        offset=BEHIND_FTRACE[k.image.arch],
        pre_handler=lambda p, regs: told.append(("pre", k.cpu)),
        post_handler=lambda p, regs, flags: told.append(("post", k.cpu)),
    )
    k.register_kprobe(probe, arming="breakpoint")
    k.register_kprobe(Kprobe("ksys_read", pre_handler=in_handler))
    k.policy = InMidBlock(in_time)
    status, said = shell.run(READS)
    assert status == 0
    assert said.count("Linux version") == 2 and "BUG" not in said
    looks_again = k.image.arch == "x86_64" and model == "5.4"
    came = () if looks_again else ("pre", "post")
    assert set(found) == {("handler", came), ("between runs", came)}
    assert probe.nmissed == 0
