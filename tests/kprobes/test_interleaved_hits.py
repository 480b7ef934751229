"""Two CPUs of a called kernel in the same probes at once, with switches between any instructions.

Each has its control block: between the breakpoint and the step, in a copy and in a detour another
CPU may come to the same probe, and nothing of a hit is lost, doubled or mixed up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kprobesim import (
    CalledKernel,
    Hit,
    HitKind,
    Kernel,
    Kprobe,
    KprobeError,
    KprobeFlag,
    Kretprobe,
    call,
)
from kprobesim.arch.x86_64.constants import INT3, JMP32
from kprobesim.races.planned import PlannedCall
from kprobesim.races.schedule import Schedule, Slice

SAMPLES = Path(__file__).parents[2] / "samples"
TURNS = (1, 2, 3, 7)
DETOUR = 30
"""Instructions of a detour until its callback has trapped, and some."""
WORDS = "a string", "and the other"
LENGTHS = {"a": len(WORDS[0]), "b": len(WORDS[1])}
FIRST, SECOND = call("strlen", WORDS[0]), call("strlen", WORDS[1])


def _race(k: CalledKernel, steps: int, a: PlannedCall, b: PlannedCall) -> dict[str, int]:
    """What calls on two CPUs return that take turns of so many instructions at first."""
    told: list[dict[str, int]] = []
    some = k.race(preemptions=0, invariant=lambda results: False, a=a, b=b).failure
    assert some is not None
    turns = tuple(Slice(number % 2, steps) for number in range(40 // steps))
    schedule = Schedule(some.schedule.what, 2, turns)
    found = k.race(schedule=str(schedule), invariant=told.append, a=a, b=b)
    assert found.failure is None
    return told[-1]


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
    alone = []
    for word in WORDS:
        seen.clear()
        k.call("strlen", word)
        alone.append(_of(0, seen))
    for steps in TURNS:
        seen.clear()
        assert _race(k, steps, a=FIRST, b=SECOND) == LENGTHS
        for cpu in (0, 1):  # each schedule may be run again
            hits = _of(cpu, seen)
            assert hits == alone[cpu] * (len(hits) // len(alone[cpu])) != []
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
        results.clear()
        before = nested.nmissed
        assert _race(k, steps, a=FIRST, b=call("gcd", 12, 18)) == {"a": len(WORDS[0]), "b": 6}
        assert nested.nmissed == before + len(results)
        assert set(results) == {2}
    assert outer.nmissed == 0


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
        assert _race(k, steps, a=FIRST, b=SECOND) == LENGTHS
        assert set(seen) == {*enumerate(WORDS)}
        assert len(_of(0, seen)) == len(_of(1, seen))
    assert p.nmissed == 0


@pytest.mark.parametrize("change", ["unregister", "disable", "post_handler"])
def test_a_probe_changes_while_a_cpu_is_in_its_detour(change: str) -> None:
    """Where the callback has not been called yet, it finds the probes that there are then."""
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", arming="breakpoint")
    told: list[Any] = []
    others: list[Kprobe] = []

    def change_it(p: Kprobe, regs: Any) -> None:
        told.append("changed")
        if change == "unregister" and probe in k.kprobes:
            k.unregister_kprobe(probe)
        elif change == "disable":
            k.disable_kprobe(probe)
        elif not others:  # the jump becomes a breakpoint again, and the copy is not boosted
            others.append(Kprobe("strlen", post_handler=lambda p, regs, flags: None))
            k.register_kprobe(others[0])

    gcd, strlen = call("gcd", 12, 18), call("strlen", WORDS[1])
    some = k.race(preemptions=0, invariant=lambda results: False, a=gcd, b=strlen).failure
    assert some is not None
    k.register_kprobe(Kprobe("gcd", pre_handler=change_it))
    seen: list[list[Any]] = []
    for steps in range(1, 45, 3):  # the detour's template has 28 instructions before its callback
        probe = Kprobe("strlen", pre_handler=lambda p, regs: told.append(k.cpu))
        k.register_kprobe(probe)
        k.kprobes.wait_for_optimizer()
        told.clear()
        results: list[dict[str, int]] = []
        text = str(Schedule(some.schedule.what, 2, (Slice(1, steps),)))
        race = k.race(schedule=text, invariant=results.append, data_races=False, a=gcd, b=strlen)
        assert race.failure is None and results[0] == {"a": 6, "b": LENGTHS["b"]}
        seen.append([*told])
        k.unregister_kprobes([p for p in (probe, *others) if p in k.kprobes])
        others.clear()
    late = ["changed", 1] if change == "post_handler" else ["changed"]
    assert [[1, "changed"], late] == [seen[-1], seen[0]]
    assert seen == sorted(seen, key=lambda one: one[0] == 1) and seen.count(late) > 6


def test_a_jump_is_written_beside_what_another_cpu_does() -> None:
    """Who comes to the breakpoint between two steps goes into the detour: each call has a hit."""
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", arming="breakpoint")
    optimizer = k.kprobes.optimizer
    assert optimizer is not None
    told: list[Any] = []
    through: set[tuple[HitKind, int]] = set()

    def listen(hit: Hit) -> None:
        if hit.kind in (HitKind.HIT, HitKind.JUMP) and hit.cpu == 1:
            through.add((hit.kind, k.read(p.addr or 0, 1)[0]))

    gcd = call("gcd", 12, 18)
    words = [call("strlen", word) for word in WORDS]
    some = k.race(preemptions=0, invariant=lambda results: False, a=gcd, b=words).failure
    assert some is not None
    k.register_kprobe(Kprobe("gcd", pre_handler=lambda p, regs: optimizer.kick()))
    k.on_hit(listen)
    for first in range(0, 40, 6):
        for steps in (*TURNS, DETOUR):
            p = Kprobe("strlen", pre_handler=lambda p, regs: told.append(k.read_cstr(regs.di)))
            k.register_kprobe(p)
            told.clear()
            turns = [Slice(number % 2, steps) for number in range(24 // steps)]
            turns = turns or [Slice(0, 1), Slice(1, steps)]
            slices = (Slice(1, first), *turns) if first else tuple(turns)
            text, results = str(Schedule(some.schedule.what, 2, slices)), list[Any]()
            race = k.race(schedule=text, invariant=results.append, data_races=False, a=gcd, b=words)
            assert race.failure is None
            assert results[0] == {"a": 6, "b": [len(word) for word in WORDS]}
            assert [word.decode() for word in told] == [*WORDS]
            assert k.read(p.addr or 0, 1)[0] == JMP32
            k.unregister_kprobe(p)
    assert through == {(HitKind.HIT, INT3), (HitKind.JUMP, INT3), (HitKind.JUMP, JMP32)}
    assert not k.machine.background
