"""Return programs: what they see is what a kretprobe of Python sees, in the same calls."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

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
from kprobesim.programs import Program, Record, arg, caller, duration, here, retval

HOW = pytest.mark.parametrize("compiled", [True, False])


class _Both:
    """A return program and a kretprobe on each of some functions."""

    def __init__(self, k: CalledKernel, names: list[str], maxactive: int, compiled: bool) -> None:
        self.k = k
        self.seen: list[tuple[int, ...]] = []
        values = {"function": here, "result": retval, "first": arg(0), "to": caller}
        program = Program([Record(values)], returns=True, maxactive=maxactive)
        self.planted = k.plant(names, program, compiled=compiled)
        assert self.planted.compiled is compiled
        self.probes = [
            Kretprobe(name, self._returned, self._entered, maxactive=maxactive) for name in names
        ]
        k.register_kretprobes(self.probes)

    @staticmethod
    def _entered(ri: KretprobeInstance, regs: Any) -> None:
        ri.data = regs.arg(0)

    def _returned(self, ri: KretprobeInstance, regs: Any) -> None:
        assert ri.rp is not None
        self.seen.append((ri.rp.kp.addr or 0, regs.return_value, ri.data, ri.ret_addr))

    def check(self, function: str, *arguments: int) -> None:
        """Both see the same calls in the same order, and miss as many."""
        before = len(self.seen)
        self.k.call(function, *arguments)
        assert [tuple(record) for record in self.planted.stores[0]] == self.seen
        assert len(self.seen) > before
        assert [p.nmissed for p in self.planted.probes] == [rp.nmissed for rp in self.probes]


@HOW
@pytest.mark.parametrize("maxactive", [0, 1, 3])
def test_recursion_and_nested_functions(
    guest: CalledKernel, compiled: bool, maxactive: int
) -> None:
    both = _Both(guest, ["recurse", "fib", "add_one"], maxactive, compiled)
    both.check("recurse", 5)
    both.check("fib", 7)
    both.check("calls", 5)
    assert maxactive == 0 or any(p.nmissed for p in both.planted.probes)


@HOW
def test_every_way_to_call_and_return(guest: CalledKernel, compiled: bool) -> None:
    """Calls through registers and memory, tail calls, callees that pop their arguments."""
    callee = "stack_sum" if guest.arch == "x86_64" else "return_by_x9"
    both = _Both(guest, ["add_one", callee, "calls", "tail_call"], 0, compiled)
    both.check("calls", 5)
    both.check("tail_call", 4)


@HOW
def test_time_from_entry_to_return(guest: CalledKernel, compiled: bool) -> None:
    times = guest.record("count_to", turns=arg(0), took=duration, compiled=compiled)
    slow = guest.latency("count_to", log2=True, when=arg(0) > 100, compiled=compiled)
    for turns in (10, 1000, 10):
        guest.call("count_to", turns)
    first, longer, last = times
    assert first == last
    assert longer.took - first.took == 990 * 8
    assert slow.value.total == 1


def test_a_limited_call_returns_too(guest: CalledKernel) -> None:
    """There instructions are counted, and make the time."""
    rings = [
        guest.record("recurse", result=retval, took=duration, compiled=compiled)
        for compiled in (True, False)
    ]
    guest.call("recurse", 3, max_instructions=1000)
    one, other = ([tuple(record) for record in ring] for ring in rings)
    assert one == other
    assert [result for result, _ in one] == [0, 1, 2, 3]
    assert len({later - before for (_, before), (_, later) in itertools.pairwise(one)}) == 1


@HOW
def test_unregistered_while_a_call_is_pending(guest: CalledKernel, compiled: bool) -> None:
    both = [guest.count("recurse", returns=True, compiled=compiled) for _ in range(2)]

    def remove(p: object, regs: Any) -> None:
        if regs.arg(0) == 2:
            both[0].planted.remove()

    with guest.probing("recurse", pre_handler=remove):
        guest.call("recurse", 5)
    assert [int(counter) for counter in both] == [0, 6]


@HOW
def test_disabled_while_a_call_is_pending(guest: CalledKernel, compiled: bool) -> None:
    """It follows no further call, but those it follows to their end."""
    counter = guest.count("recurse", returns=True, compiled=compiled)

    def disable(p: object, regs: Any) -> None:
        if regs.arg(0) == 2:
            counter.planted.disable()

    with guest.probing("recurse", pre_handler=disable):
        guest.call("recurse", 5)
    assert int(counter) in (3, 4)  # 4: its entry handler runs before the one that disables it


@HOW
def test_what_never_returns_is_given_back(guest: CalledKernel, compiled: bool) -> None:
    program = Program([Record({"length": retval})], maxactive=1)
    planted = guest.plant("strlen", program, compiled=compiled)
    for _ in range(3):
        with pytest.raises(GuestFault):
            guest.call("strlen", None)
    guest.call("strlen", "four")
    assert [record.length for record in planted.stores[0]] == [4]
    assert planted.nmissed == 0


def test_a_frame_that_is_left_behind_is_given_back(guest: CalledKernel) -> None:
    """As by longjmp(): the handler of an inner function goes on where the outer one was called."""
    inner = Program([Record({"result": retval})], maxactive=2)
    outer = guest.record("_do_fork", result=retval, compiled=True)
    planted = guest.plant("copy_process", inner, compiled=True)
    frames: list[tuple[int, int, int]] = []
    x86 = guest.arch == "x86_64"
    number = 5 if x86 else 29

    def entered(_p: object, regs: Any) -> None:
        to = int.from_bytes(guest.read(regs.sp, 8), "little") if x86 else regs.gpr(30)
        frames.append((regs.sp + 8 * x86, to, regs.gpr(number)))

    def longjmp(_p: object, regs: Any) -> int:
        regs.sp, regs.ip, frame = frames[-1]
        regs.set_gpr(number, frame)
        regs.return_value = 99
        return 1

    with (
        guest.probing("_do_fork", pre_handler=entered, arming="hook"),
        guest.probing("alloc_pid", pre_handler=longjmp, arming="hook"),
    ):
        for _ in range(5):
            assert guest.call("do_fork", 17, 0, 0) == 99
    assert [record.result for record in outer] == [99] * 5
    assert planted.nmissed == 0
    assert not list(planted.stores[0])


@HOW
def test_calls_of_handlers_are_followed_no_more(guest: CalledKernel, compiled: bool) -> None:
    counter = guest.count("kprobe_recursed_target", returns=True, compiled=compiled)

    def nested(_p: object, _regs: Any) -> None:
        guest.call("kprobe_recursed_target", 30)

    with guest.probing("kprobe_target", pre_handler=nested):
        guest.call("kprobe_target", 12)
    assert int(counter) == 0
    assert counter.planted.nmissed == 1
    guest.call("kprobe_recursed_target", 30)
    assert int(counter) == 1


def test_it_is_a_return_probe(guest: CalledKernel) -> None:
    with guest.latency("gcd").planted as planted:
        assert [line.split()[1] for line in guest.kprobes.list().splitlines()] == ["r"]
        (p,) = planted.probes
        guest.unregister_kprobe(p)  # as the kernel's rp->kp could be
        guest.call("gcd", 12, 18)
        assert planted.hits == 0
        p.addr, p.flags = None, KprobeFlag(0)
        guest.register_kprobe(p, arming="hook")
        guest.call("gcd", 12, 18)
        assert planted.hits == 1
    with pytest.raises(KprobeError) as refusal:
        guest.latency("gcd+4")
    assert refusal.value.reason is Reason.NOT_FUNCTION_ENTRY


def test_entries_and_returns_are_noticed(guest: CalledKernel) -> None:
    """By who must know whether something was seen: also where the condition is not met."""
    counter = guest.count("recurse", returns=True, when=arg(0) > 100)
    (p,) = counter.planted.probes
    told = [p.told_nobody]
    inner = Kprobe("recurse", pre_handler=lambda _p, _regs: told.append(p.told_nobody))
    with guest.register_kprobe(inner):
        guest.call("recurse", 1)
    told.append(p.told_nobody)
    assert int(counter) == 0
    assert told[1:] == sorted(set(told[1:]))
    assert told[0] < told[-1]


def test_nothing_is_looked_at_when_the_last_one_has_gone(guest: CalledKernel) -> None:
    counters = [guest.count("recurse", returns=True) for _ in range(2)]
    guest.call("recurse", 3)
    for counter in counters:
        counter.planted.remove()
    guest.call("recurse", 3)
    assert [int(counter) for counter in counters] == [4, 4]
    assert len(guest.machine.code_watch) == 0
    assert not any(guest._programs.following.pending.sites)


def test_tasks_of_a_booted_guest(boots: Boots, real_image: Path) -> None:
    """Functions that sleep while others run, that end with their task, and that interrupts call."""
    k = boots.at_run_init(real_image)
    names = ["schedule", "do_exit", "vfs_write", "__kmalloc", "do_wait", "ktime_get", "kfree"]
    program = Program(
        [Record({"function": here, "result": retval, "first": arg(0), "t": duration})]
    )
    planted = [k.plant(names, program, compiled=compiled) for compiled in (True, False)]
    k.run(seconds=0.3)
    one, other = ([tuple(record) for record in each.stores[0]] for each in planted)
    assert len(one) > 100
    assert len({record[0] for record in one}) > 4
    assert sorted(one) == sorted(other)  # they end one after the other at the very same time
    missed = [[p.nmissed for p in each.probes] for each in planted]
    assert missed[0] == missed[1]
    assert len(k._programs.following.pending) == len(k.kprobes.returns.pending)


def test_a_snapshot_with_calls_that_have_not_returned(
    boots: Boots, real_image: Path, tmp_path: Path
) -> None:
    """The copy goes on as the original does."""
    k = boots.at_run_init(real_image)
    names = ["schedule", "vfs_write", "do_wait", "kfree"]
    program = Program([Record({"at": here, "result": retval, "first": arg(0), "t": duration})])
    planted = k.plant(names, program, compiled=True)
    k.run(seconds=0.03)
    before = [tuple(record) for record in planted.stores[0]]
    k.snapshot(tmp_path / "pending.kps")
    again = Kernel.resume(tmp_path / "pending.kps")
    assert len(k._programs.following.pending) > 1
    for each in (k, again):
        each.run(seconds=0.2)
    (copy,) = again.programs
    one, other = ([tuple(record) for record in p.stores[0]] for p in (planted, copy))
    assert one == other
    assert len(one) > len(before)
    assert [p.nmissed for p in planted.probes] == [p.nmissed for p in copy.probes]

    k.plant("kfree", program, compiled=False)
    with pytest.raises(UsageError, match="unregister return probes"):
        k.snapshot(tmp_path / "interpreted.kps")


def test_going_back_to_a_state_with_calls_that_have_not_returned(
    boots: Boots, real_image: Path
) -> None:
    k = boots.at_run_init(real_image)
    program = Program([Record({"at": here, "result": retval, "t": duration})])
    planted = k.plant(["schedule", "vfs_write", "do_wait"], program, compiled=True)
    k.run(seconds=0.03)
    k.fork_state()
    calls, seen = k._programs.following.save(), []
    assert calls
    for _ in range(2):
        before = len(planted.stores[0])
        k.run(seconds=0.1)
        seen.append([tuple(record) for record in planted.stores[0]][before:])
        k.restore_state()
        assert len(k._programs.following.pending) == len(calls)
    assert seen[0] == seen[1]
    assert seen[0]
