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
