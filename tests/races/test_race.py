"""Two calls on two CPUs: interleavings that go wrong are found, told by a text, and run again."""

from __future__ import annotations

from typing import Any

import pytest

from kprobesim import CalledKernel, ScheduleError, UsageError, call, pct, random_
from kprobesim.races.exploring.exploring import Exhaustive, Explore, Pct, Random

FORK = call("do_fork", 0, 0)


def two_pids(results: dict[str, int]) -> None:
    assert results["a"] != results["b"], f"the same pid twice: {results}"


def test_a_race_is_found_made_short_and_replayed(guest: CalledKernel) -> None:
    before = guest.call("nr_running")
    found = guest.race(a=FORK, b=FORK, invariant=two_pids, data_races=False)
    failure = found.failure
    assert failure is not None
    assert failure.kind == "invariant"
    assert "the same pid twice" in str(failure)
    assert failure.schedule.preemptions == 1
    assert len(str(failure.schedule)) < 100
    for _ in range(3):
        again = guest.race(
            a=FORK,
            b=FORK,
            invariant=two_pids,
            schedule=str(failure.schedule),
            data_races=False,
        )
        assert again.failure is not None
        assert again.failure.message == failure.message
    assert guest.call("nr_running") == before


@pytest.mark.parametrize("explore", [pct(depth=2, runs=900), random_(runs=900)])
def test_samples_find_it_too(guest: CalledKernel, explore: Explore) -> None:
    found = guest.race(a=FORK, b=FORK, invariant=two_pids, explore=explore, data_races=False)
    assert found.failure is not None


def test_one_after_the_other_nothing_fails(guest: CalledKernel) -> None:
    found = guest.race(a=FORK, b=[FORK, FORK], preemptions=0, data_races=False)
    assert (found.schedules, found.failures) == (2, [])


def test_exhaustive_search_tries_as_many_schedules_as_there_are(guest: CalledKernel) -> None:
    counter = guest.alloc(8)
    guest.write(counter, bytes(8))
    add = call("memcpy", counter, guest.alloc(8), 8)
    for preemptions in (0, 1, 2):
        found = guest.race(a=add, b=add, preemptions=preemptions, data_races=False)
        p, q = found.points
        assert p
        assert found.schedules == (2, 2 + p + q, 2 + p + q + 2 * p * q)[preemptions]


@pytest.mark.parametrize(("cpus", "orders"), [(1, 1), (3, 6), (4, 24)])
def test_whoever_comes_next_is_tried_without_a_preemption(
    guest: CalledKernel, cpus: int, orders: int
) -> None:
    programs: dict[str, Any] = {f"cpu{n}": call("gcd", 12, 18) for n in range(cpus)}
    assert guest.race(preemptions=0, **programs).schedules == orders


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "no calls"),
        ({"a": "do_fork"}, "is no call"),
        ({"a": [FORK, 3]}, "is no call"),
        ({"a": FORK, "explore": "all"}, "explore="),
        ({"a": FORK, "preemptions": -1}, "preemptions"),
        ({f"n{number}": FORK for number in range(9)}, "1 to 8"),
    ],
)
def test_what_makes_no_sense_is_refused(
    guest: CalledKernel, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        guest.race(**given)
    assert guest.call("gcd", 12, 18) == 6


def test_a_schedule_of_other_calls_is_refused(guest: CalledKernel) -> None:
    found = guest.race(a=FORK, b=FORK, invariant=two_pids, data_races=False)
    assert found.failure is not None
    schedule = str(found.failure.schedule)
    other_calls: list[dict[str, Any]] = [{"a": FORK}, {"a": FORK, "b": call("do_fork", 1, 0)}]
    for others in other_calls:
        with pytest.raises(ScheduleError, match="of another race"):
            guest.race(schedule=schedule, **others)


@pytest.mark.parametrize("make", [Exhaustive, Pct, Random])
def test_counts_are_checked(make: type) -> None:
    with pytest.raises(UsageError, match="give"):
        make("many")
