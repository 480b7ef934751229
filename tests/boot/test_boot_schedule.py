"""Schedules of kernels on several CPUs: written, read, and followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import (
    BootedKernel,
    GuestFault,
    GuestTimeout,
    Kprobe,
    KprobesimError,
    PtRegs,
    ScheduleError,
    UsageError,
)
from kprobesim.boot.boot_schedule import BootSchedule, Part, Tick
from kprobesim.boot.policy import SwitchPoint
from kprobesim.boot.random_turns import RandomTurns

LINE = "taskset 1 sha256sum /bin/busybox & taskset 2 sha256sum /bin/busybox; wait\n"
SHORT = 0.004  # of the guest's seconds


def test_a_schedule_is_the_same_when_it_is_read() -> None:
    parts = Part(0, "random:seed=1"), Part(90, "", ((1, 7), (0, 300)))
    schedule = BootSchedule(1, 2, 5000, 3, parts, (Tick(1, 1 << 63),), ((1, 2), (9, 0xFFFF)))
    text = str(schedule)
    assert BootSchedule.parse(f" {text}\n") == schedule
    assert schedule.describe() == (
        "from 0.000005 s: random:seed=1, then 2 turns, 1 timer interrupts"
    )
    for wrong in (
        text[:-3],
        text[:20] + "AAAA" + text[24:],
        "kpb2:AAAA",
        "kps1:AAAA",
        "",
        text * 9,
    ):
        with pytest.raises(ScheduleError, match="schedule"):
            BootSchedule.parse(wrong)


def test_a_policy_that_chose_too_much_has_no_text() -> None:
    choices = tuple((n * n % 2, n * n * 7919 % 10007 + 1) for n in range(3000))
    schedule = BootSchedule(1, 2, None, 3, (Part(0, "", choices),))
    with pytest.raises(ScheduleError, match="more than 1024"):
        str(schedule)
    assert BootSchedule.parse(schedule) is schedule
    too_many = BootSchedule(1, 2, None, 3, (Part(0, "", choices * 30),))
    with pytest.raises(ScheduleError, match="too many to write them down"):
        BootSchedule.parse(too_many)


class Mine:
    """A policy that asks a function."""

    blocks = 3000

    def __init__(self, pick: Callable[[SwitchPoint], Any]) -> None:
        self.pick = pick


@pytest.fixture(scope="module")
def two(real_image: Path, boots: Boots) -> BootedKernel:
    """A kernel on two CPUs whose shell has been given something to do on both."""
    kernel = boots.shell(real_image, 2).kernel
    kernel.console.send(LINE)
    kernel.run(seconds=0.02)
    kernel.fork_state()
    return kernel


@pytest.fixture
def kernel(two: BootedKernel) -> Iterator[BootedKernel]:
    """The same, put back; each test leaves it with the plain policy."""
    two.restore_state()
    yield two
    two.policy = "round-robin"


def outcome(kernel: BootedKernel) -> tuple[object, ...]:
    """What tells one way from another."""
    machine = kernel.machine
    return kernel.time, [vcpu.saved_regs().ip for vcpu in machine.vcpus], str(kernel.schedule)


@pytest.mark.parametrize(
    "policy", ["random:seed=9,blocks=90,at=vfs_read|mutex_*,accesses=vfs_read", "own"]
)
def test_a_run_is_followed_to_the_last_bit(kernel: BootedKernel, policy: str) -> None:
    own = Mine(lambda point: (point.runnable[point.time // 50_000 % len(point.runnable)], 4000))
    kernel.policy = own if policy == "own" else policy
    kernel.run(seconds=SHORT)
    first = outcome(kernel)
    assert kernel.schedule.turns > 20
    kernel.policy = "round-robin"
    kernel.restore_state()
    kernel.run(seconds=SHORT, schedule=str(first[2]))
    assert outcome(kernel) == first
    kernel.policy = "round-robin"
    kernel.restore_state()
    kernel.run(seconds=SHORT)
    assert outcome(kernel) != first


def test_a_run_that_leaves_its_schedule_is_told(kernel: BootedKernel) -> None:
    kernel.policy = RandomTurns(seed=2, blocks=50)
    kernel.run(seconds=SHORT)
    text = str(kernel.schedule)
    with pytest.raises(ScheduleError, match=r"begins at the state at .* and this guest stands at"):
        kernel.run(schedule=text)
    kernel.restore_state()
    late = kernel.probing("vfs_read", pre_handler=lambda _p, _regs: kernel.board.clock.spend(80))
    with late, pytest.raises(ScheduleError, match="leaves the schedule between turn"):
        kernel.run(seconds=1, schedule=text)


def test_a_bad_policy_is_told_and_the_guest_goes_on(
    kernel: BootedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kprobesim.boot.starving._TURNS", 100)
    bad: list[tuple[Callable[[SwitchPoint], Any], str]] = [
        (lambda point: 1 // 0, "has raised ZeroDivisionError"),
        (lambda point: (7, 100), "lets CPU 7 run, which cannot: it is not there"),
        (lambda point: (0, 0), "gives 0 blocks"),
        (lambda point: (point.runnable[0], 1 << 50), "gives .* blocks"),
        (lambda point: (0.0, 100), r"lets CPU 0\.0 run, which cannot"),
        (lambda point: (True, 100), "lets CPU True run, which cannot"),
        (lambda point: None, "picks None: give a CPU"),
        (lambda point: (0, 1, 2), r"picks \(0, 1, 2\)"),
        (lambda point: (point.runnable[0], 1), "lets CPU 1 starve"),
    ]
    for pick, why in bad:
        kernel.policy = Mine(pick)
        with pytest.raises(UsageError, match=why):
            kernel.run(seconds=1)
    kernel.policy = "round-robin"
    before = kernel.time
    kernel.run(seconds=SHORT)
    assert kernel.time == pytest.approx(before + SHORT)


def test_errors_tell_the_schedule_that_shows_them_again(kernel: BootedKernel) -> None:
    """Wherever this computer has stopped the guest to look at a signal, or at its watch."""
    turn, told = kernel.machine.turn, list[object]()

    def stop(_p: Kprobe, _regs: PtRegs) -> None:
        turn.stop_soon()

    for around in (nullcontext(), kernel.probing("__fget_light", pre_handler=stop)):
        with around, pytest.raises(GuestFault, match="schedule: kpb1:") as caught:
            kernel.call("memcpy", 8, 16, 8, cpu=1)
        told.append((caught.value.schedule, str(caught.value), kernel.time))
        kernel.restore_state()
        kernel.follow_schedule(caught.value.schedule)
    assert told[0] == told[1]
    kernel.restore_state()  # nothing is followed now
    with pytest.raises(GuestTimeout, match="schedule: kpb1:"):
        kernel.run("never", timeout=0.01)


def test_what_cannot_be_is_refused(kernel: BootedKernel) -> None:
    for policy in ("random:at=no_such_function", "random:at=vfs_read+0x1", "none"):
        with pytest.raises(KprobesimError, match=r"no"):
            kernel.policy = policy
