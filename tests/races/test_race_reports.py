"""Reports: where each CPU stood, who called it, and which locks it held and waited for."""

from __future__ import annotations

import json
import struct

import pytest

from kprobesim import CalledKernel, PlannedCall, call


def test_a_lost_update_tells_the_load_too(guest: CalledKernel) -> None:
    count = call("alloc_pid")
    failure = guest.race(a=count, b=count).failure
    assert failure is not None
    load, other, store = failure.standings
    assert (load.cpu, store.cpu) == (0, 0) or (load.cpu, store.cpu) == (1, 1)
    assert other.cpu == 1 - load.cpu
    assert load.what.startswith("loads 4 bytes (0x")
    assert "becomes" in store.what
    assert load.place.startswith("alloc_pid+")
    assert f"{load.name} on CPU {load.cpu} loads 4 bytes" in str(failure)
    data = json.loads(json.dumps(failure.as_dict()))
    assert [each["cpu"] for each in data["standings"]] == [each.cpu for each in failure.standings]
    assert "lost" in failure._repr_html_()


def test_both_accesses_have_callers(guest: CalledKernel) -> None:
    fork = call("do_fork", 0, 0)
    failure = guest.race(a=fork, b=fork).failure
    assert failure is not None
    for each in failure.standings:
        assert each.stack[-1].startswith("do_fork+")


def test_an_oops_tells_where_the_others_stand(guest: CalledKernel) -> None:
    fork = call("do_fork", 0, 0)
    failure = guest.race(a=fork, b=fork, data_races=False).failure
    assert failure is not None
    assert failure.kind == "oops"
    failing, other = failure.standings
    assert failing.place.startswith("list_del+")
    assert other.what == "stands"
    assert other.stack[-1].startswith("do_fork+")


@pytest.mark.real_kernel
def test_a_deadlock_tells_who_holds_what(real_kernel: CalledKernel) -> None:
    k = real_kernel
    locks = []
    for _ in range(2):
        locks.append(k.alloc(64))
        k.call("__mutex_init", locks[-1], 0, 0)

    def program(*order: int) -> list[PlannedCall]:
        return [
            *(call("mutex_lock", mutex) for mutex in order),
            *(call("mutex_unlock", mutex) for mutex in order),
        ]

    failure = k.race(a=program(*locks), b=program(*locks[::-1])).failure
    assert failure is not None
    for one, held, wanted in zip(failure.standings, locks, locks[::-1], strict=True):
        assert [lock.address for lock in one.holds] == [held]
        assert f"{wanted:#x}" in one.waits_for
        assert "by mutex_lock()" in one.waits_for
        assert f"CPU {1 - one.cpu} has it" in one.waits_for
        assert any(frame.startswith("__mutex_lock") for frame in one.stack)


@pytest.mark.real_kernel
def test_a_data_race_tells_the_locks_that_did_not_help(real_kernel: CalledKernel) -> None:
    k = real_kernel
    fifo = k.alloc(64)
    k.write(fifo, struct.pack("<4I2Q", 0, 0, 63, 1, k.alloc(64), 0))

    def program() -> list[PlannedCall]:
        mutex = k.alloc(64)
        k.call("__mutex_init", mutex, 0, 0)
        return [call("mutex_lock", mutex), call("__kfifo_in", fifo, k.alloc(8), 4)]

    failure = k.race(a=program(), b=program()).failure
    assert failure is not None
    one, two = failure.standings
    assert len(one.holds) == len(two.holds) == 1
    assert one.holds != two.holds
