"""What cannot be raced is told in one clear error, and the kernel is as it was before."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from kprobesim import (
    CalledKernel,
    ImageError,
    Kernel,
    Kprobe,
    KprobesimError,
    Schedule,
    ScheduleError,
    Slice,
    SymbolError,
    UsageError,
    call,
)

FORK = call("do_fork", 0, 0)
GCD = call("gcd", 12, 18)


@contextmanager
def unharmed(k: CalledKernel) -> Iterator[None]:
    """Within, something fails: what the kernel holds, and what is planted, stays."""
    counts, p = k.count("strlen"), Kprobe("strlen")
    k.register_kprobe(p)
    k.call("strlen", "before")
    k.race(a=GCD, b=GCD, preemptions=0)  # the second CPU is there from now on
    k.fork_state()

    def held() -> Any:
        return zlib.crc32(k.machine.memory.ram), k.time, len(k.warnings), int(counts), [*k.kprobes]

    before = held()
    yield
    assert held() == before
    assert k.call("strlen", "after") == 5
    assert int(counts) == 2
    assert k.race(a=GCD, b=GCD, preemptions=0).failures == []


def recorded(k: CalledKernel) -> Schedule:
    failure = k.race(a=FORK, b=FORK, data_races=False, invariant="a == 99").failure
    assert failure is not None
    return failure.schedule


def test_a_schedule_of_another_kernel(guest: CalledKernel, arch: str) -> None:
    other = Kernel.sample("arm64" if arch == "x86_64" else "x86_64")
    text = str(recorded(other))
    with unharmed(guest), pytest.raises(ScheduleError, match="another race: of another kernel"):
        guest.race(a=FORK, b=FORK, schedule=text)


@pytest.mark.parametrize(
    ("slices", "problem"),
    [
        ([Slice(0), Slice(0, 5)], "slice 2 of the schedule lets CPU 0 run, whose calls are over"),
        ([Slice(1, 1_000_000)], "slice 1: CPU 1 was to run for 1000000 instructions"),
        ([Slice(0, 10, 1)], "leaves the schedule in slice 1: CPU 0 comes to .*do_fork"),
    ],
)
def test_a_schedule_that_was_made_up(
    guest: CalledKernel, slices: list[Slice], problem: str
) -> None:
    text = str(Schedule(recorded(guest).what, 2, tuple(slices)))
    with unharmed(guest), pytest.raises(ScheduleError, match=problem):
        guest.race(a=FORK, b=FORK, schedule=text)


@pytest.mark.parametrize(
    ("given", "kind", "problem"),
    [
        ({"a": call("no_such"), "b": FORK}, SymbolError, "no_such"),
        ({"a": call("init_task"), "b": FORK}, UsageError, "is not code"),
        ({"a": call("gcd", 1.5), "b": FORK}, UsageError, "give an integer"),
        ({"a": call("gcd", "text", object()), "b": FORK}, UsageError, "give an integer"),
        ({"a": FORK, "schedule": 7}, ScheduleError, "a schedule is a text"),
        ({"a": FORK, "schedule": b"kps1:"}, ScheduleError, "a schedule is a text"),
        ({"a": FORK, "most_failures": 0}, UsageError, "most_failures 0"),
        ({"a": FORK, "invariant": 7}, UsageError, "give a function, or a text"),
        ({"a": FORK, "data_races": "some"}, UsageError, "data_races='some'"),
        ({"a": []}, UsageError, "is no call"),
        ({"a": FORK, "debug": 7}, UsageError, "debug is of type int: name a file"),
        ({"a": FORK, "debug": "/no/such"}, ImageError, "cannot be read"),
        ({"a": FORK, "invariant": "-" * 900 + "a"}, UsageError, "operations within each other"),
        ({"a": FORK, "invariant": "+".join("a" * 900)}, UsageError, "within each other"),
    ],
)
def test_arguments_that_make_no_sense(
    guest: CalledKernel, given: dict[str, Any], kind: type[KprobesimError], problem: str
) -> None:
    with unharmed(guest), pytest.raises(kind, match=problem):
        guest.race(**given)


def test_a_cpu_may_have_any_name(guest: CalledKernel) -> None:
    with unharmed(guest):
        names: dict[str, Any] = {"self": GCD, "a b": GCD}
        assert guest.race(**names, preemptions=0, invariant="self == 6").failures == []


def test_memory_of_an_invariant_that_is_not_there(guest: CalledKernel) -> None:
    with unharmed(guest):
        failure = guest.race(a=GCD, invariant="a == 6 and u64(7) == 0").failure
        assert failure is not None
        assert "has no value: cannot read 8 bytes" in failure.message
        failure = guest.race(a=GCD, invariant="a == 5 and u64(7) == 0").failure
        assert failure is not None
        assert "u64(7) = nothing (cannot read 8 bytes" in failure.message


def test_a_window_is_at_a_place(guest: CalledKernel) -> None:
    window: Any = guest.between
    for place, problem in ((7, "7 is no place"), ("gcd+0x3f", "gcd"), ("", "place")):
        with unharmed(guest), pytest.raises((UsageError, SymbolError), match=problem):
            window(place, run=GCD)


def test_what_an_invariant_raises_comes_out(guest: CalledKernel) -> None:
    def broken(results: dict[str, Any]) -> None:
        guest.write(guest.symbols["init_task"].address, b"x")
        raise KeyError("c")

    with unharmed(guest), pytest.raises(KeyError, match="c"):
        guest.race(a=FORK, b=FORK, invariant=broken)


def test_what_a_handler_raises_comes_out(guest: CalledKernel) -> None:
    def broken(p: Kprobe, regs: Any) -> None:
        if guest.cpu == 1:
            raise KeyError("in a handler")

    with unharmed(guest), guest.probing("alloc_pid", pre_handler=broken) as p:
        with pytest.raises(KeyError, match="in a handler"):
            guest.race(a=FORK, b=FORK)
        assert p in [*guest.kprobes]


def test_no_race_begins_within_another_or_a_call(guest: CalledKernel) -> None:
    told: list[str] = []

    def race(*_: Any) -> None:
        with pytest.raises(UsageError, match="in the middle of something") as caught:
            guest.race(a=GCD)
        told.append(str(caught.value))

    with unharmed(guest), guest.probing("gcd", pre_handler=race):
        assert guest.call("gcd", 12, 18) == 6
        assert guest.race(a=GCD, b=GCD, preemptions=0).failures == []
    assert guest.race(a=call("strlen", "x"), invariant=race, preemptions=0).failures == []
    assert len(told) > 3


def test_another_thread_is_refused_while_a_race_goes_on(guest: CalledKernel) -> None:
    told: list[BaseException] = []

    def use(what: Any) -> None:
        try:
            what()
        except UsageError as error:
            told.append(error)

    def meanwhile(_results: object) -> None:
        for what in (lambda: guest.race(a=GCD), lambda: guest.call("gcd", 1, 2)):
            thread = Thread(target=use, args=(what,))
            thread.start()
            thread.join(20)

    with unharmed(guest):
        guest.race(a=GCD, invariant=meanwhile, preemptions=0)
    assert len(told) >= 2
    assert all("is being used by another thread" in str(error) for error in told)


@pytest.mark.parametrize("cpus", [0, 9, "two", True])
def test_so_many_cpus_no_board_has(sample: Any, cpus: Any) -> None:
    with pytest.raises(UsageError, match="cpus"):
        Kernel.boot(sample, cpus=cpus)
