"""An interrupt that comes while a probe is handled: it waits until the hit is over, as in a CPU.

The kernel steps the instruction with interrupts off (``setup_singlestep()``), so code of an
interrupt never runs between a pre_handler and its post_handler, and no probe there is missed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import BootedKernel, Kprobe
from kprobesim.arch.architecture import halves
from kprobesim.boot.arm64.board import Arm64Board
from kprobesim.boot.arm64.tree import TIMER_PPI
from kprobesim.boot.x86_64.board import X86Board
from kprobesim.kprobes.arming.armings import ProbeArming

pytestmark = pytest.mark.real_kernel

_TICKS = halves(x86_64="__sysvec_apic_timer_interrupt", arm64="arch_timer_handler_phys")
"""The handler of the timer's interrupt."""
_LVT_TIMER = 0x32
_PROBED = "int_sqrt"
_CALLS = 4


def _raise_interrupt(k: BootedKernel) -> None:
    """The timer's line goes up now, whatever the time."""
    board = k.board
    if isinstance(board, X86Board):
        lapic = board.interrupts.lapics[0]
        lapic.accept(lapic.read(_LVT_TIMER) & 0xFF)
    else:
        assert isinstance(board, Arm64Board)
        latched = 1 << 16 + TIMER_PPI  # else it falls with the timer's own line
        board.gic.interfaces[0].latched |= latched
        board.gic._update()
    board.clock.stop_run()


@pytest.mark.parametrize("arming", ["hook", "breakpoint"])
@pytest.mark.parametrize("at_entry", [True, False])
def test_an_interrupt_waits_until_the_hit_is_over(
    real_image: Path, boots: Boots, arming: ProbeArming, at_entry: bool
) -> None:
    k = boots.at_run_init(real_image)
    happened: list[str] = []

    def pre(p: Kprobe, regs: Any) -> None:
        _raise_interrupt(k)
        happened.append("pre")

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        happened.append("post")

    tick = Kprobe(_TICKS[k.arch], pre_handler=lambda p, regs: happened.append("tick"))
    ticks = k.count(_TICKS[k.arch])
    k.register_kprobe(tick)
    inside = (offset for offset in range(1, 64) if k.check(_PROBED, offset=offset))
    offset = 0 if at_entry else next(inside)
    probe = Kprobe(_PROBED, offset=offset, pre_handler=pre, post_handler=post)
    k.register_kprobe(probe, arming=arming)
    for _ in range(_CALLS):
        assert k.call(_PROBED, 10_000) == 100
    hits = [at for at, what in enumerate(happened) if what == "pre"]
    assert len(hits) == _CALLS
    assert all(happened[at + 1] == "post" for at in hits)
    assert any(happened[at + 2 : at + 3] == ["tick"] for at in hits), "it comes right behind"
    assert tick.nmissed == ticks.planted.nmissed == 0
    assert int(ticks) == happened.count("tick")
