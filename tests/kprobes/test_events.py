"""What listeners hear of hits: every kind of event, in order, and what they may do with it."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import Hit, HitKind, Jprobe, Kernel, Kprobe, Kretprobe, UsageError


def _told(k: Kernel) -> list[Hit]:
    told: list[Hit] = []
    k.on_hit(told.append)
    return told


def _kinds(told: list[Hit]) -> list[str]:
    return [hit.kind.value for hit in told]


def test_the_states_of_one_hit(stepped: Kernel) -> None:
    told = _told(stepped)
    entry = stepped.symbols["kprobe_target"].address
    with stepped.probing("kprobe_target", post_handler=lambda *a: None) as p:
        stepped.call("kprobe_target", 9)
        on = "emulate" if p.ainsn.emulate else "step"
    assert _kinds(told) == ["hit", on, "done"]
    assert [hit.status for hit in told] == [1, 1 if on == "emulate" else 2, 8]
    assert {(hit.probe, hit.cpu, hit.missed) for hit in told} == {(p, 0, False)}
    assert told[0].regs.arg(0) == 9, "kept events show the registers as they were"
    assert told[0].regs.ip == entry + (stepped.arch == "x86_64")
    assert [hit.time for hit in told] == [stepped.time] * 3


def test_misses_moves_and_returns(stepped: Kernel) -> None:
    k, nested = stepped, [False]

    def pre(p: Kprobe, regs: Any) -> None:
        if not nested[0]:
            nested[0] = True
            k.call("kprobe_target", 3)

    told = _told(k)
    with k.probing("kprobe_target", pre_handler=pre) as p:
        k.call("kprobe_target", 9)
    misses = [hit for hit in told if hit.missed]
    assert [(hit.kind, hit.probe) for hit in misses] == [(HitKind.REENTER, p)]
    assert p.nmissed == 1

    told.clear()
    with k.override_return("kprobe_target", 5):
        assert k.call("kprobe_target", 9) == 5
    assert _kinds(told) == ["hit", "moved"]

    told.clear()
    rp = Kretprobe("fib", maxactive=1)
    with k.register_kretprobe(rp):
        assert k.call("fib", 2) == 1
    kinds = _kinds(told)
    assert kinds.count("return") == 1 and kinds.count("miss") == rp.nmissed == 2
    assert {hit.probe for hit in told} == {rp.kp}


def test_a_jump(with_breakpoints: Kernel) -> None:
    k = with_breakpoints
    if not k.kprobes.optimization:
        pytest.skip("there are no jumps")
    told = _told(k)
    with k.probing("strlen"):
        k.call("strlen", "abc")
        k.kprobes.wait_for_optimizer()
        k.call("strlen", "abc")
    assert _kinds(told) == ["hit", "detour", "jump"]


def test_several_probes_at_one_address(guest: Kernel) -> None:
    told = _told(guest)
    first, second = Kprobe("strlen"), Kprobe("strlen")
    with guest.register_kprobes([first, second]):
        guest.call("strlen", "abc")
        assert list(told[0].probes) == [second, first]
        guest.disable_kprobe(first)
        assert list(told[0].probes) == [second]


def test_a_listener_may_act(stepped: Kernel) -> None:
    def listen(hit: Hit) -> None:
        if hit.kind is HitKind.HIT and not hit.probe.nmissed:
            assert stepped.call("kprobe_target", 30) == 10
            hit.regs.set_gpr(7 if stepped.arch == "x86_64" else 0, 300)

    with stepped.on_hit(listen), stepped.probing("kprobe_target") as p:
        assert stepped.call("kprobe_target", 9) == 100
        assert p.nmissed == 1
    assert stepped.call("kprobe_target", 9) == 3


def test_a_listener_that_raises_ends_the_call(stepped: Kernel) -> None:
    def listen(hit: Hit) -> None:
        raise KeyError("mine")

    with stepped.probing("kprobe_target") as p:
        with stepped.on_hit(listen), pytest.raises(KeyError, match="mine"):
            stepped.call("kprobe_target", 9)
        assert stepped.call("kprobe_target", 9) == 3
        assert p.nmissed == 0


def test_registrations_are_removed_once_and_by_whoever_comes_first(stepped: Kernel) -> None:
    k = stepped
    probes = [Kprobe("strlen"), Kprobe("fib")]
    handles = [
        k.register_kprobe(Kprobe("memcpy")),
        k.register_kprobes(probes),
        k.register_kretprobe(Kretprobe("fib")),
        k.register_kretprobes([Kretprobe("strlen")]),
        k.register_jprobe(Jprobe("kprobe_target", lambda: None)),
        k.register_jprobes([Jprobe("crc32_le", lambda: None)]),
        k.override_return("strcmp", 1),
        k.on_hit(lambda hit: None),
        k.on_text_poke(lambda *poke: None),
        k.register_die_notifier(lambda *a: None),
    ]
    assert len(k.kprobes) == 8
    k.unregister_kprobe(probes[0])
    for handle in handles:
        with handle as entered:
            assert entered is handle
        assert "removed" in repr(handle) or "Override" in repr(handle)
        handle.remove()
        handle()
    assert len(k.kprobes) == 0
    assert not k.kprobes.listeners.callbacks and not k.machine.die_notifiers


def test_what_cannot_listen(guest: Kernel) -> None:
    with pytest.raises(UsageError, match="give a function"):
        guest.on_hit(None)  # type: ignore[arg-type]


def test_frames_as_data(stepped: Kernel) -> None:
    traces = []
    with stepped.probing(
        "alloc_pid",
        pre_handler=lambda p, regs: traces.append((stepped.stack_trace(), stepped.dump_stack())),
    ):
        stepped.call("do_fork", 17, 0, 0)
    (trace, text), *_ = traces
    assert str(trace) == text
    inner, caller = trace[:2]
    assert inner.symbol == stepped.symbols["alloc_pid"] and inner.exact
    assert caller.symbol is not None and not caller.exact
    assert caller.address == caller.symbol.address + (caller.offset or 0)
    lines = [line for line in text.splitlines() if line.startswith(" ") and "TASK" not in line]
    assert [f" {frame}" for frame in trace] == lines
    assert trace[-1].symbol is None, "where the host has called from"
