"""Arming each probe in a way of its own: hooks, breakpoints and jumps in one guest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import Jprobe, Kernel, Kprobe, KprobeFlag, Kretprobe, UsageError
from kprobesim.boot.stop import Stop

BREAKPOINT = {"x86_64": b"\xcc", "arm64": bytes.fromhex("800020d4")}
FUNCTIONS = ("strlen", "kprobe_target", "fib")


def _guest(sample: Path, default: str) -> Kernel:
    return Kernel.load(sample, arming=default)  # type: ignore[arg-type]


@pytest.mark.parametrize("default", ["breakpoint", "hook"])
def test_all_ways_in_one_guest(sample: Path, default: str) -> None:
    k, hits = _guest(sample, default), Counter[str]()
    ways = ["hook", "breakpoint", "auto"]
    before = {name: k.read(k.symbols[name].address, 4) for name in FUNCTIONS}
    for name, how in zip(FUNCTIONS, ways, strict=True):
        p = Kprobe(
            name,
            pre_handler=lambda p, regs, name=name: hits.update([name]),
            post_handler=lambda p, regs, flags, name=name: hits.update([name + " post"]),
        )
        k.register_kprobe(p, arming=how)  # type: ignore[arg-type]
        changed = k.read(p.addr or 0, 4) != before[name]
        assert changed == (how == "breakpoint" or (how, default) == ("auto", "breakpoint"))
        assert k.kprobes.read_original(p.addr or 0, 4) == k.read(p.addr or 0, 4) or changed
    results = (k.call("strlen", "abc"), k.call("kprobe_target", 9), k.call("fib", 2))
    assert results == (3, 3, 1)
    expected = {"strlen": 1, "kprobe_target": 1, "fib": 3}
    assert hits == {**expected, **{f"{name} post": n for name, n in expected.items()}}
    k.unregister_kprobes(list(k.kprobes))
    assert {name: k.read(k.symbols[name].address, 4) for name in FUNCTIONS} == before
    assert k.kprobes.slots.used == 0 and len(k.kprobes.hooks) == 0


@pytest.mark.parametrize("how", ["breakpoint", "hook"])
def test_return_probes_and_jprobes(stepped: Kernel, how: Any) -> None:
    seen: list[int] = []
    rp = Kretprobe("kprobe_target", handler=lambda ri, regs: seen.append(regs.return_value))
    jp = Jprobe("strlen", lambda text: seen.append(len(stepped.read_cstr(text))))
    with stepped.register_kretprobe(rp, arming=how), stepped.register_jprobe(jp, arming=how):
        stepped.call("kprobe_target", 30)
        stepped.call("strlen", "four")
    assert seen == [10, 4]


def test_all_at_one_address_are_armed_alike(guest: Kernel) -> None:
    first, second = Kprobe("strlen"), Kprobe("strlen")
    guest.register_kprobe(first, arming="hook")
    with pytest.raises(UsageError, match="armed as 'hook'"):
        guest.register_kprobe(second, arming="breakpoint")
    guest.register_kprobe(Kprobe("strlen"))
    assert guest.read(first.addr or 0, 4)[:1] != b"\xcc"
    guest.unregister_kprobes(list(guest.kprobes))
    guest.register_kprobe(Kprobe("strlen"), arming="breakpoint")


def test_jumps_at_once_and_never() -> None:
    k = Kernel.sample("x86_64")
    hits: list[str] = []
    jumped = Kprobe("strlen", pre_handler=lambda p, regs: hits.append("jump"))
    stays = Kprobe("kprobe_target", pre_handler=lambda p, regs: hits.append("breakpoint"))
    k.register_kprobe(jumped, arming="jump")
    k.register_kprobe(stays, arming="breakpoint")
    assert k.read(jumped.addr or 0, 1) == b"\xe9"
    k.kprobes.wait_for_optimizer()
    assert k.read(stays.addr or 0, 1) == b"\xcc"
    head = k.kprobes.get_kprobe(stays.addr or 0)
    assert head is stays and not head.flags & KprobeFlag.OPTIMIZED
    assert (k.call("strlen", "abc"), k.call("kprobe_target", 9)) == (3, 3)
    assert hits == ["jump", "breakpoint"]


def test_a_hook_inside_a_jump_makes_it_a_breakpoint_again() -> None:
    k, hits = Kernel.sample("x86_64"), list[str]()
    outer = Kprobe("strlen", pre_handler=lambda p, regs: hits.append("jump"))
    k.register_kprobe(outer, arming="jump")
    start = outer.addr or 0
    inside = next(a for a in range(start + 1, start + 5) if k.check(addr=a).errno == 0)
    inner = Kprobe(addr=inside, pre_handler=lambda p, regs: hits.append("hook"))
    k.register_kprobe(inner, arming="hook")
    assert k.read(start, 1) == b"\xcc"
    assert k.call("strlen", "") == 0
    assert hits[:2] == ["jump", "hook"]


def test_what_cannot_be_a_jump(guest: Kernel, sample: Path) -> None:
    def ask(k: Kernel, p: Kprobe, how: Any = "jump") -> str:
        was = p.addr
        with pytest.raises(UsageError) as caught:
            k.register_kprobe(p, arming=how)
        assert p not in k.kprobes and k.kprobes.slots.used == 0
        assert p.addr == was, "it could not be registered another way"
        return str(caught.value)

    assert "where probes are hooks" in ask(_guest(sample, "hook"), Kprobe("strlen"))
    assert "arming is auto or breakpoint" in ask(guest, Kprobe("strlen"), "magic")
    if guest.arch == "arm64":
        assert "in this kernel" in ask(guest, Kprobe("strlen"))
        return
    assert "needs a breakpoint" in ask(guest, Kprobe("strlen", post_handler=lambda *a: None))
    symbol = guest.symbols["fib"]
    unfit = next(
        address
        for address in range(symbol.address, symbol.address + symbol.size)
        if (verdict := guest.check(addr=address)).errno == 0 and not verdict.optimizable
    )
    assert "no jump fits" in ask(guest, Kprobe(addr=unfit))


def test_code_that_was_written_anew_is_left_alone(guest: Kernel) -> None:
    p = Kprobe("kprobe_target")
    guest.register_kprobe(p, arming="breakpoint")
    new = bytes(4)
    guest.write(p.addr or 0, new)
    guest.unregister_kprobe(p)
    assert guest.read(p.addr or 0, 4) == new


@pytest.mark.real_kernel
def test_breakpoints_in_a_booted_guest(real_image: Path, boots: Boots) -> None:
    """Its own kprobes give the slots; hits are those of hooks, and no state is kept meanwhile."""
    k = boots.at_run_init(real_image)
    state = k.fork_state()
    hits, returns = Counter[str](), list[int]()
    kinds = {"breakpoint": 0, "hook": 0}
    start = k.symbols["vfs_write"]
    places = [a for a in range(start.address, start.address + 40) if k.check(addr=a).errno == 0]
    for place in places:  # the first of them lets the guest run on, for a page
        for how in kinds:
            if (how == "hook") == (place == places[-1]):
                p = Kprobe(addr=place, pre_handler=lambda p, regs: hits.update([hex(p.addr)]))
                p.post_handler = lambda p, regs, flags: hits.update([hex(p.addr)])
                k.register_kprobe(p, arming=how)  # type: ignore[arg-type]
                kinds[how] += 1
    followed = k.register_kretprobe(
        Kretprobe("vfs_write", lambda ri, regs: returns.append(regs.return_value)),
    )
    assert kinds["breakpoint"] >= 3 and kinds["hook"] == 1
    for refused in (k.fork_state, lambda: k.snapshot("never")):
        with pytest.raises(UsageError, match="armed by breakpoints"):
            refused()
    k.run()
    assert "17 of 17" in k.console.text
    assert len(returns) >= 3
    assert set(hits.values()) == {2 * len(returns)}, hits
    followed.remove()
    k.unregister_kprobes(list(k.kprobes))
    assert k.kprobes.breakpoints == []
    k.restore_state(state)  # the guest has given no page for slots yet
    with k.probing(addr=places[0], pre_handler=lambda p, regs: k.stop(), arming="breakpoint"):
        assert k.run().kind is Stop.REQUESTED
