"""Return probes: what a running 6.1 answered, and what its handlers printed, in that order."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from kprobesim import (
    CalledKernel,
    GuestFault,
    Kernel,
    Kprobe,
    KprobeError,
    KprobeFlag,
    Kretprobe,
    KretprobeInstance,
    Reason,
    UsageError,
)
from kprobesim.kprobes import hook_returns

TARGET = "kprobe_target"


class _Log:
    """Return probes whose handlers write down that they ran."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __str__(self) -> str:
        return " ".join(self.events)

    def probe(self, symbol: str, *, maxactive: int = 0, hmode: int = 0) -> Kretprobe:
        returns = [0]

        def entry(ri: KretprobeInstance, regs: Any) -> int:
            self.events.append("entry")
            return int(hmode == 1)

        def handler(ri: KretprobeInstance, regs: Any) -> None:
            self.events.append(f"R{returns[0]}={regs.return_value}")
            returns[0] += 1
            if hmode == 2:
                regs.return_value = 777

        return Kretprobe(symbol, handler, entry, maxactive)


@pytest.mark.parametrize(
    ("hmode", "result", "events"),
    [(0, 31, "entry R0=31"), (1, 31, "entry"), (2, 777, "entry R0=31")],
)
def test_modes(stepped: CalledKernel, hmode: int, result: int, events: str) -> None:
    """KRET run: 1: the entry handler returns 1; 2: the handler changes the result."""
    log = _Log()
    rp = log.probe(TARGET, hmode=hmode)
    stepped.register_kretprobe(rp)
    assert rp.maxactive == 10
    assert stepped.call(TARGET, 93) == result
    assert str(log) == events
    assert rp.nmissed == rp.kp.nmissed == 0
    assert not stepped.kprobes.returns.pending


@pytest.mark.parametrize(
    ("maxactive", "followed", "nmissed"), [(0, 6, 0), (1, 1, 5), (2, 2, 4), (3, 3, 3)]
)
def test_recursion(stepped: CalledKernel, maxactive: int, followed: int, nmissed: int) -> None:
    """KRET recursion depth 6: one instance for each level, the innermost returns first."""
    log = _Log()
    rp = log.probe("recurse", maxactive=maxactive)
    stepped.register_kretprobe(rp)
    assert stepped.call("recurse", 5) == 5
    first = 6 - followed
    assert str(log) == " ".join(
        ["entry"] * followed + [f"R{n}={first + n}" for n in range(followed)]
    )
    assert (rp.nmissed, rp.kp.nmissed) == (nmissed, 0)


def test_two_and_a_kprobe(stepped: CalledKernel) -> None:
    """KRET two + kprobe on one function (order k1,kprobe,k2): pre1 entry post1 ret=4 R0."""
    events: list[str] = []
    k1 = Kretprobe(
        TARGET,
        lambda ri, regs: events.append(f"ret={regs.return_value}"),
        lambda ri, regs: events.append("entry"),
    )
    p = Kprobe(
        TARGET,
        pre_handler=lambda p, regs: events.append("pre1"),
        post_handler=lambda p, regs, flags: events.append("post1"),
    )
    k2 = Kretprobe(TARGET, lambda ri, regs: events.append("R0"))
    stepped.register_kretprobe(k1)
    stepped.register_kprobe(p)
    stepped.register_kretprobe(k2)
    assert stepped.call(TARGET, 12) == 4
    assert events == ["pre1", "entry", "post1", "ret=4", "R0"]
    types = [line.split()[1] for line in stepped.kprobes.list().splitlines()]
    assert types == ["r", "k", "r"]
    events.clear()
    stepped.disable_kretprobe(k1)
    assert k1.kp.flags & KprobeFlag.DISABLED
    stepped.call(TARGET, 12)
    assert events == ["pre1", "post1", "R0"]
    stepped.enable_kretprobe(k1)
    stepped.unregister_kretprobe(k2)
    events.clear()
    stepped.call(TARGET, 12)
    assert events == ["pre1", "entry", "post1", "ret=4"]


@pytest.mark.parametrize(
    ("arguments", "number", "reason"),
    [
        ({"symbol_name": TARGET, "offset": 5}, errno.EINVAL, Reason.NOT_FUNCTION_ENTRY),
        ({"symbol_name": TARGET, "offset": 4}, errno.EINVAL, Reason.NOT_FUNCTION_ENTRY),
        ({}, errno.EINVAL, Reason.NEITHER_OR_BOTH),
        ({"symbol_name": "no_such_function"}, errno.ENOENT, Reason.UNKNOWN_SYMBOL),
        ({"symbol_name": TARGET, "addr": 1}, errno.EINVAL, Reason.NEITHER_OR_BOTH),
        ({"symbol_name": TARGET, "data_size": 4097}, errno.E2BIG, Reason.DATA_SIZE),
        (  # where it is comes first
            {"symbol_name": TARGET, "offset": 4, "data_size": 4097},
            errno.EINVAL,
            Reason.NOT_FUNCTION_ENTRY,
        ),
        (  # and the size before what the entry probe is refused for
            {"symbol_name": "noprobe_listed", "data_size": 4097},
            errno.E2BIG,
            Reason.DATA_SIZE,
        ),
        ({"symbol_name": "noprobe_listed"}, errno.EINVAL, Reason.BLACKLISTED),
    ],
)
def test_refusals(
    guest: CalledKernel, arguments: dict[str, Any], number: int, reason: Reason
) -> None:
    rp = Kretprobe(**arguments)
    with pytest.raises(KprobeError) as refused:
        guest.register_kretprobe(rp)
    assert (refused.value.errno, refused.value.reason) == (number, reason)
    assert len(guest.kprobes) == 0
    assert guest.kprobes.slots.used == 0


def test_registered_twice(guest: CalledKernel) -> None:
    by_symbol = Kretprobe(TARGET)
    by_address = Kretprobe(addr=guest.symbols["kprobe_target2"].address)
    guest.register_kretprobes([by_symbol, by_address])
    for rp in (by_symbol, by_address):
        with pytest.raises(KprobeError) as refused:
            guest.register_kretprobe(rp)
        assert refused.value.errno == errno.EINVAL
    guest.unregister_kretprobes([by_symbol, by_address])
    guest.register_kretprobe(by_address)  # by address, a probe may come again
    assert by_symbol.kp.flags & KprobeFlag.DISABLED == by_address.kp.flags & KprobeFlag.DISABLED


def test_all_or_none(guest: CalledKernel) -> None:
    good, bad = Kretprobe(TARGET), Kretprobe("no_such_function")
    with pytest.raises(KprobeError):
        guest.register_kretprobes([good, bad])
    assert len(guest.kprobes) == 0
    with pytest.raises(UsageError):
        guest.register_kretprobe(good.kp)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        guest.register_kretprobe(Kretprobe(TARGET, maxactive=1.5))  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        guest.register_kretprobe(Kretprobe(TARGET, handler=5))  # type: ignore[arg-type]


def test_data_is_kept_from_entry_to_return_and_not_cleared(stepped: CalledKernel) -> None:
    seen: list[tuple[bytes, int]] = []

    def entry(ri: KretprobeInstance, regs: Any) -> None:
        seen.append((bytes(ri.data), -1))
        ri.data[:] = regs.arg(0).to_bytes(8, "little")

    def handler(ri: KretprobeInstance, regs: Any) -> None:
        seen.append((bytes(ri.data), regs.return_value))
        assert ri.rp is rp

    rp = Kretprobe("recurse", handler, entry, maxactive=4, data_size=8)
    stepped.register_kretprobe(rp)
    stepped.call("recurse", 2)
    word = [n.to_bytes(8, "little") for n in range(3)]
    assert seen == [(bytes(8), -1)] * 3 + [(word[n], n) for n in range(3)]
    seen.clear()
    stepped.call("recurse", 0)
    assert seen == [(word[2], -1), (word[0], 0)]  # the last one that was given back


@pytest.mark.parametrize("name", ["x86_64", "arm64"])
@pytest.mark.parametrize("arming", ["breakpoint", "hook"])
def test_every_way_to_call_and_return(name: str, arming: Any, pytestconfig: pytest.Config) -> None:
    """Calls through registers and memory, tail calls, callees that pop their arguments."""
    k = Kernel.load(pytestconfig.rootpath / f"samples/guest-{name}.elf", arming=arming)
    callees = ["add_one", "stack_sum" if name == "x86_64" else "return_by_x9"]
    for function, argument in (("calls", 5), ("tail_call", 4)):
        expected = k.call(function, argument)
        events: list[tuple[str | None, int]] = []

        def handler(ri: KretprobeInstance, regs: Any) -> None:
            assert regs.ip == ri.ret_addr
            assert ri.rp is not None
            events.append((ri.rp.kp.symbol_name, regs.return_value))  # noqa: B023

        probes = [Kretprobe(symbol, handler) for symbol in (*callees, function)]
        k.register_kretprobes(probes)
        assert k.call(function, argument) == expected
        if function == "tail_call":  # two functions, one return
            assert events == [("add_one", 5), ("tail_call", 5)]
        else:
            assert [name for name, _ in events].count("add_one") >= 3
            assert events[-2][0] == callees[1]
            assert events[-1] == ("calls", expected)
        k.unregister_kretprobes(probes)
        assert not k.kprobes.returns.pending


def test_unregistered_while_a_call_is_pending(stepped: CalledKernel) -> None:
    log = _Log()
    rp = log.probe("recurse")

    def stop(p: Kprobe, regs: Any) -> None:
        if regs.arg(0) == 2 and rp.rethook is not None:
            stepped.unregister_kretprobe(rp)

    stepped.register_kretprobe(rp)
    stepped.register_kprobe(Kprobe("recurse", pre_handler=stop))
    assert stepped.call("recurse", 5) == 5
    assert str(log) == "entry entry entry"
    assert not stepped.kprobes.returns.pending
    rp.kp.addr, rp.kp.flags = None, KprobeFlag(0)
    stepped.register_kretprobe(rp)
    assert stepped.call("recurse", 0) == 0
    assert log.events[3:] == ["entry", "R0=0"]


def test_disabled_while_a_call_is_pending(stepped: CalledKernel) -> None:
    """It follows no further call, but those it follows to their end."""
    log = _Log()
    rp = log.probe("recurse")
    rp.entry_handler = lambda ri, regs: regs.arg(0) == 3 and stepped.disable_kretprobe(rp)
    stepped.register_kretprobe(rp)
    assert stepped.call("recurse", 5) == 5
    assert str(log) == "R0=3 R1=4 R2=5"


def test_changed_ip_is_ignored(stepped: CalledKernel) -> None:
    def handler(ri: KretprobeInstance, regs: Any) -> None:
        regs.ip = 0x1234

    stepped.register_kretprobe(Kretprobe(TARGET, handler))
    assert stepped.call(TARGET, 12) == 4


def test_probes_hit_in_the_handler_are_missed(stepped: CalledKernel) -> None:
    inner = Kprobe("kprobe_recursed_target", pre_handler=lambda p, regs: 1 / 0)  # type: ignore[arg-type, return-value]
    inner_return = Kretprobe("kprobe_recursed_target", lambda ri, regs: 1 / 0)  # type: ignore[arg-type, return-value]
    results = []

    def handler(ri: KretprobeInstance, regs: Any) -> None:
        results.append(stepped.call("kprobe_recursed_target", 30))

    stepped.register_kprobe(inner)
    stepped.register_kretprobe(inner_return)
    stepped.register_kretprobe(Kretprobe(TARGET, handler))
    assert stepped.call(TARGET, 12) == 4
    assert results == [10]
    assert inner.nmissed == inner_return.kp.nmissed == 1
    assert inner_return.nmissed == 0


def test_what_never_returns_is_given_back(stepped: CalledKernel) -> None:
    """A call that faults, and a handler that raises, leave no instance in use."""
    returned = []
    rp = Kretprobe("strlen", lambda ri, regs: returned.append(regs.return_value), maxactive=1)
    stepped.register_kretprobe(rp)
    for _ in range(3):
        with pytest.raises(GuestFault):
            stepped.call("strlen", None)
    assert stepped.call("strlen", "four") == 4
    assert returned == [4]

    class Mine(Exception):
        pass

    def explode(ri: KretprobeInstance, regs: Any) -> None:
        raise Mine

    for rp.handler, rp.entry_handler in ((explode, None), (None, explode)):
        for _ in range(2):
            with pytest.raises(Mine):
                stepped.call("strlen", "four")
            assert stepped.kprobes.ctlblk[0].current_kprobe is None
    rp.handler, rp.entry_handler = lambda ri, regs: returned.append(regs.return_value), None
    assert stepped.call("strlen", "seven!!") == 7
    assert returned == [4, 7]
    assert rp.nmissed == 0


def test_registers_kept_by_a_handler_stay_as_they_were(stepped: CalledKernel) -> None:
    kept: list[Any] = []
    stepped.register_kretprobe(Kretprobe(TARGET, lambda ri, regs: kept.append(regs)))
    stepped.call(TARGET, 12)
    stepped.call(TARGET, 30)
    assert [regs.return_value for regs in kept] == [4, 10]


def test_memory_is_as_without_the_probe(stepped: CalledKernel) -> None:
    """Also below the stack pointer, where the return address was."""
    stepped.call("fib", 5)
    sp = stepped.machine.memory.regions
    stack = next(region for region in sp if region.name == "stack 0")
    plain = stepped.read(stack.start, stack.end - stack.start)
    stepped.register_kretprobe(Kretprobe("fib"))
    stepped.write(stack.start, bytes(stack.end - stack.start))
    assert stepped.call("fib", 5) == 5
    if stepped.arch == "x86_64":
        assert stepped.read(stack.start, stack.end - stack.start) == plain


def test_no_hook_is_left_behind(sample: Path) -> None:
    k = Kernel.load(sample, arming="hook")
    assert k.kprobes.hooks is not None
    probes = [Kretprobe("fib"), Kretprobe("recurse")]
    k.register_kretprobes(probes)
    k.call("fib", 6)
    assert len(k.machine.code_watch) > 3
    k.unregister_kretprobe(probes[0])
    assert k.call("recurse", 3) == 3
    k.unregister_kretprobe(probes[1])
    assert len(k.machine.code_watch) == 0
    assert k.call("fib", 6) == 8


def test_more_return_addresses_than_are_hooked(sample: Path, monkeypatch: Any) -> None:
    """The sites of calls that wait stay; idle ones make room."""
    monkeypatch.setattr(hook_returns, "_MOST_SITES", 2)
    k = Kernel.load(sample, arming="hook")
    returned: list[int] = []
    names = ("calls", "add_one", "fib", "recurse")
    k.register_kretprobes(
        [Kretprobe(name, lambda ri, regs: returned.append(ri.ret_addr)) for name in names]
    )
    for _ in range(3):
        returned.clear()
        k.call("calls", 1)
        k.call("fib", 3)
        k.call("recurse", 2)
        assert len(returned) == (5 if k.arch == "x86_64" else 4) + 5 + 3
    assert k.kprobes.hooks is not None
    assert len(k.machine.code_watch) < len(names) + 6


def test_a_function_that_is_left_behind_confuses_nobody(stepped: CalledKernel) -> None:
    """As by longjmp(): the handler of an inner function goes on where the outer one was called."""
    returned: list[str] = []

    def outer_entry(ri: KretprobeInstance, regs: Any) -> None:
        ri.data = regs.sp, ri.ret_addr, regs.gpr(5 if stepped.arch == "x86_64" else 29)
        frames.append(ri)

    frames: list[KretprobeInstance] = []
    stepped.register_kretprobe(
        Kretprobe("_do_fork", lambda ri, regs: returned.append("_do_fork"), outer_entry)
    )
    inner = Kretprobe("copy_process", lambda ri, regs: returned.append("copy_process"), maxactive=2)
    stepped.register_kretprobe(inner)

    def longjmp(p: Kprobe, regs: Any) -> int:
        sp, address, frame = frames[-1].data
        x86 = stepped.arch == "x86_64"
        regs.sp = sp
        regs.set_gpr(5 if x86 else 29, frame)
        regs.return_value = 99
        if x86:  # through the stack, where the trampoline may be
            regs.ip = int.from_bytes(stepped.read(sp, 8), "little")
            regs.sp += 8
        else:
            trampoline = stepped.kprobes.returns.trampoline
            regs.pc = address if trampoline < 0 else trampoline
        return 1

    with stepped.probing("alloc_pid", pre_handler=longjmp):
        for _ in range(5):
            assert stepped.call("do_fork", 17, 0, 0) == 99
    assert returned == ["_do_fork"] * 5
    assert inner.nmissed == 0
    returned.clear()
    assert stepped.call("do_fork", 17, 0, 0) == 1
    assert returned == ["copy_process", "_do_fork"]
