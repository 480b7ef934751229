"""A CPU has come to a breakpoint, and another one takes it out before the trap is handled.

Who patches waits for such hits (x86 since 5.5: text_poke_sync(); ARM64: aarch64_insn_patch_text()
stops all CPUs); before that the trap finds no probe, and no breakpoint, and tries again. A hit
whose handler has looked is over before unregister_kprobe() returns (synchronize_rcu()).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kprobesim import Kernel, Kprobe, KprobeFlag, call
from kprobesim.races.schedule import Schedule, Slice

THIRD = 8
"""Bytes of int_sqrt() before its third instruction, on both architectures."""


@pytest.mark.parametrize("model", ["5.4", "6.1", "6.12"])
def test_a_probe_is_taken_out_while_its_trap_is_on_its_way(real_image: Path, model: str) -> None:
    k = Kernel.load(real_image, model=model)
    told: list[tuple[str, int]] = []

    def take_out(p: Kprobe, regs: Any) -> None:
        if probe in k.kprobes:  # a schedule may be run again
            k.unregister_kprobe(probe)
            told.append(("gone", k.cpu))

    probe = Kprobe(
        "int_sqrt",
        offset=THIRD,
        pre_handler=lambda p, regs: told.append(("pre", k.cpu)),
        post_handler=lambda p, regs, flags: told.append(("post", k.cpu)),
    )
    calls: Any = {"a": call("gcd", 12, 18), "b": call("int_sqrt", 100)}
    wrong = k.race(preemptions=0, data_races=False, invariant=lambda results: False, **calls)
    assert wrong.failure is not None
    k.register_kprobe(Kprobe("gcd", pre_handler=take_out))
    for steps in (3, 4):  # it has come to the breakpoint; it is about to execute the copy
        until_there = Schedule(wrong.failure.schedule.what, 2, (Slice(1, steps),))
        k.register_kprobe(probe)
        told.clear()
        results: list[dict[str, int]] = []
        race = k.race(schedule=str(until_there), invariant=results.append, **calls)
        assert race.failure is None
        assert results[0] == {"a": 6, "b": 10}
        if k.image.arch == "x86_64" and model == "5.4" and steps == 3:
            assert told == [("gone", 0)]
        else:
            assert told == [("pre", 1), ("post", 1), ("gone", 0)]
        probe.addr, probe.flags = None, KprobeFlag(0)
    assert probe.nmissed == 0
    assert [ctl.current_kprobe for ctl in k.kprobes.ctlblk] == [None, None]
