"""Data races: what nothing orders is found by the first schedules, and what is ordered is not."""

from __future__ import annotations

import struct

import pytest
from kernel_races import load_races

from kprobesim import CalledKernel, PlannedCall, UsageError, call

FORK = call("do_fork", 0, 0)


def test_a_race_is_told_with_what_it_is_of(guest: CalledKernel) -> None:
    found = guest.race(a=FORK, b=FORK, most_failures=9)
    assert found.schedules < 800
    races = [failure for failure in found.failures if failure.kind == "data race"]
    assert any("init_task+0x20" in failure.message for failure in races)
    again = guest.race(a=FORK, b=FORK, schedule=str(races[-1].schedule))
    assert races[-1].message in [failure.message for failure in again.failures]


def test_a_counter_that_loses_a_count(guest: CalledKernel) -> None:
    count = call("alloc_pid")
    found = guest.race(a=count, b=count)
    assert found.failure is not None
    assert found.failure.kind == "data race"
    assert "of last_pid+0x0" in found.failure.message
    assert found.schedules < 20


def test_only_on_request(guest: CalledKernel) -> None:
    count = call("alloc_pid")
    assert guest.race(a=count, b=count, data_races=False).failures == []
    with pytest.raises(UsageError, match="data_races='some'"):
        guest.race(a=count, b=count, data_races="some")


@pytest.mark.real_kernel
def test_a_fifo_of_a_real_kernel(real_kernel: CalledKernel) -> None:
    """One may put in while another one takes out; two may not put in without a lock."""
    k = real_kernel
    fifo, data, mutex = k.alloc(32), k.alloc(64), k.alloc(64)
    k.write(fifo, struct.pack("<4I2Q", 0, 0, 63, 1, k.alloc(64), 0))
    k.call("__mutex_init", mutex, 0, 0)
    put, take = call("__kfifo_in", fifo, data, 4), call("__kfifo_out", fifo, data + 32, 4)

    def locked(inner: PlannedCall) -> list[PlannedCall]:
        return [call("mutex_lock", mutex), inner, call("mutex_unlock", mutex)]

    found = k.race(a=put, b=put, most_failures=2)
    assert {failure.kind for failure in found.failures} == {"data race"}
    assert k.race(a=put, b=take).failures == []
    assert k.race(a=locked(put), b=locked(put), preemptions=1).failures == []
    found = k.race(a=put, b=take, data_races="all")
    assert found.failure is not None
    assert "__kfifo_in" in found.failure.message


def test_a_release_that_is_missing_shows_where_stores_are_not_ordered(arch: str) -> None:
    k = load_races(arch)
    racy = k.race(a=call("tty_commit_racy", 7), b=call("tty_flush"))
    if arch == "arm64":
        assert racy.failure is not None
        assert "no barrier lies behind the store" in racy.failure.message
        assert "tty_commit_racy" in racy.failure.message
    else:
        assert racy.failures == []
    assert k.race(a=call("tty_commit_fixed", 7), b=call("tty_flush")).failures == []


def test_an_update_in_parts_is_lost(arch: str) -> None:
    k = load_races(arch)
    racy = k.race(a=call("deposit_racy", 5), b=call("deposit_racy", 7))
    assert racy.failure is not None
    assert racy.failure.message.startswith("an update of balance+0x0")
    load, other, store = racy.failure.standings
    assert load.cpu == store.cpu != other.cpu
    assert load.place.startswith("balance_of+") and store.place.startswith("set_balance+")
    assert k.race(a=call("deposit_fixed", 5), b=call("deposit_fixed", 7)).failures == []
    assert k.race(a=call("close_account"), b=call("deposit_fixed", 7)).failures == []
