"""Locks of a real kernel that is called on two CPUs: they exclude, and they can deadlock."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import CalledKernel, PlannedCall, call

pytestmark = pytest.mark.real_kernel


def mutexes(k: CalledKernel, count: int) -> list[int]:
    made = []
    for _ in range(count):
        mutex = k.alloc(64)
        k.call("__mutex_init", mutex, 0, 0)
        made.append(mutex)
    return made


def test_a_mutex_excludes(real_kernel: CalledKernel) -> None:
    k = real_kernel
    (mutex,) = mutexes(k, 1)
    data = k.alloc(8)
    k.write(data, bytes(8))

    def program(text: bytes) -> list[PlannedCall]:
        source = k.alloc(8)
        k.write(source, text)
        copy = [call("memcpy", data + at, source + at, 4) for at in (0, 4)]
        return [call("mutex_lock", mutex), *copy, call("mutex_unlock", mutex)]

    def whole(_results: object) -> bool:
        return k.read(data, 8) in (b"aaaaaaaa", b"bbbbbbbb")

    programs: dict[str, Any] = {"a": program(b"a" * 8), "b": program(b"b" * 8)}
    found = k.race(**programs, invariant=whole, preemptions=1)
    assert found.failures == []
    assert min(found.points) > 4
    bare: dict[str, Any] = {name: calls[1:-1] for name, calls in programs.items()}
    found = k.race(**bare, invariant=whole, preemptions=1, data_races=False)
    assert found.failure is not None
    assert found.failure.kind == "invariant"


def test_two_mutexes_in_two_orders_deadlock(real_kernel: CalledKernel) -> None:
    k = real_kernel
    first, second = mutexes(k, 2)

    def program(*order: int) -> list[PlannedCall]:
        return [
            *(call("mutex_lock", mutex) for mutex in order),
            *(call("mutex_unlock", mutex) for mutex in order),
        ]

    found = k.race(a=program(first, second), b=program(second, first))
    assert found.failure is not None
    assert found.failure.kind == "deadlock"
    assert "a on CPU 0 and b on CPU 1 wait for ever" in found.failure.message
    again = k.race(
        a=program(first, second), b=program(second, first), schedule=str(found.failure.schedule)
    )
    assert again.failure is not None
    assert again.failure.message == found.failure.message
    assert k.race(a=program(first, second), b=program(first, second)).failures == []


def test_who_is_woken_before_it_sleeps_sleeps_for_ever(real_kernel: CalledKernel) -> None:
    k = real_kernel
    queue, entry = k.alloc(64), k.alloc(64)
    k.call("__init_waitqueue_head", queue, 0, 0)

    def race(*waits: PlannedCall, **how: Any) -> Any:
        sleeper = [call("init_wait_entry", entry, 0), *waits, call("finish_wait", queue, entry)]
        waker = call("__wake_up", queue, 3, 1, 0)
        return k.race(sleeper=sleeper, waker=waker, data_races=False, **how)

    prepared = call("prepare_to_wait", queue, entry, 2)
    for sleep in (call("schedule"), call("schedule_timeout", (1 << 63) - 1)):
        found = race(prepared, sleep)
        assert found.failure is not None
        assert (found.failure.kind, found.schedules) == ("deadlock", 2)
        assert "sleeper on CPU 0 waits for ever" in found.failure.message
        assert race(prepared, sleep, schedule=str(found.failure.schedule)).failures
    assert race(call("schedule")).failures == []  # it has not said that it wants to sleep
    assert race(prepared, call("schedule_timeout", 10), preemptions=0).failures == []
