"""Two CPUs of a called kernel in the same probes at once, with switches between any instructions.

Each has its control block: between the breakpoint and the step, in a copy and in a detour another
CPU may come to the same probe, and nothing of a hit is lost, doubled or mixed up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kprobesim import CalledKernel, Kernel, Kprobe, KprobeError, KprobeFlag, Kretprobe, call
from kprobesim.races.lanes import Run
from kprobesim.races.planned import PlannedCall
from kprobesim.races.schedule import Slice

SAMPLES = Path(__file__).parents[2] / "samples"
TURNS = (1, 2, 3, 7)
WORDS = "abcd", "wxyz"


def _take_turns(k: CalledKernel, steps: int, **calls: PlannedCall) -> list[list[int]]:
    """What calls on two CPUs return that take turns of so many instructions; it is done twice."""

    def turns(_run: Run) -> Iterator[Slice]:
        lanes = trials.lanes.lanes
        while any(lane.at is not None for lane in lanes):
            for cpu, lane in enumerate(lanes):
                if lane.at is not None:
                    yield Slice(cpu, steps)

    trials, ending = k._trials({name: [each] for name, each in calls.items()}, None)
    with ending:
        trial = trials.run(turns)
    assert trial.failure is None
    return trial.run.results


def _probe_everywhere(k: CalledKernel, name: str, seen: list[Any]) -> list[Kprobe]:
    """Probes on all instructions of a function that can have one."""

    def pre(p: Kprobe, regs: Any) -> None:
        ctl = k.kprobes.ctlblk[k.cpu]
        running = ctl.current_kprobe
        assert running is not None and running.addr == p.addr
        seen.append((k.cpu, "pre", p.offset))

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        seen.append((k.cpu, "post", p.offset))

    planted = []
    for offset in range(k.symbols[name].size):
        p = Kprobe(name, offset=offset, pre_handler=pre, post_handler=post)
        try:
            k.register_kprobe(p)
        except KprobeError:
            continue
        planted.append(p)
    return planted


def _of(cpu: int, seen: list[Any]) -> list[Any]:
    return [what for number, *what in seen if number == cpu]


@pytest.mark.parametrize("late", [False, True])
def test_hits_of_interleaved_calls_are_those_of_each_alone(
    stepped: CalledKernel, late: bool
) -> None:
    """``late``: the probes come when there are two CPUs already."""
    k, seen = stepped, list[Any]()
    if late:
        k.race(a=call("strlen", ""), b=call("strlen", ""), preemptions=0)
    planted = _probe_everywhere(k, "strlen", seen)
    rp = Kretprobe("strlen", handler=lambda ri, regs: seen.append((k.cpu, "returned", 0)))
    k.register_kretprobe(rp)
    assert len(planted) > 5
    assert k.call("strlen", WORDS[0]) == 4
    alone = _of(0, seen)
    for steps in TURNS:
        seen.clear()
        assert _take_turns(k, steps, a=call("strlen", WORDS[0]), b=call("strlen", WORDS[1])) == [
            [4],
            [4],
        ]
        for cpu in (0, 1):  # the first schedule is always run twice
            assert _of(cpu, seen) == alone * 2
    assert [p.nmissed for p in planted] == [0] * len(planted) and rp.nmissed == 0
    assert [ctl.current_kprobe for ctl in k.kprobes.ctlblk] == [None, None]
    assert not k.kprobes.returns.pending
    assert rp.maxactive == max(10, 2 * len(k.kprobes.ctlblk))


def test_a_miss_is_that_of_the_cpu_that_handles_another_probe(stepped: CalledKernel) -> None:
    """A handler calls the probed function: that is nested on its CPU, and not on the other one."""
    k = stepped
    nested = Kprobe("strlen")
    results: list[int] = []
    outer = Kprobe("gcd", pre_handler=lambda p, regs: results.append(k.call("strlen", "ab")))
    k.register_kprobes([outer, nested])
    for steps in TURNS:
        before = nested.nmissed
        assert _take_turns(k, steps, a=call("strlen", WORDS[0]), b=call("gcd", 12, 18)) == [
            [4],
            [6],
        ]
        assert nested.nmissed == before + 2
    assert outer.nmissed == 0
    assert set(results) == {2}


@pytest.mark.parametrize("wait", [False, True])
def test_detours_of_two_cpus(wait: bool) -> None:
    """``wait``: the jump has been written; else the breakpoint leads into the detour."""
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", arming="breakpoint")
    seen: list[Any] = []

    def pre(p: Kprobe, regs: Any) -> None:
        assert k.kprobes.ctlblk[1 - k.cpu].current_kprobe is None
        seen.append((k.cpu, k.read_cstr(regs.di).decode()))

    p = Kprobe("strlen", pre_handler=pre)
    k.register_kprobe(p)
    head = k.kprobes.get_kprobe(p.addr or 0)
    assert head is not None and head.flags & KprobeFlag.OPTIMIZED
    if wait:
        k.kprobes.wait_for_optimizer()
    for steps in TURNS:
        seen.clear()
        assert _take_turns(k, steps, a=call("strlen", WORDS[0]), b=call("strlen", WORDS[1])) == [
            [4],
            [4],
        ]
        assert sorted(seen) == [(0, WORDS[0])] * 2 + [(1, WORDS[1])] * 2
    assert p.nmissed == 0
