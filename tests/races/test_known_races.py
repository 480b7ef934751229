"""Races of the kernel's history: each is found, comes again from its text, and can be mended."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from kernel_races import KNOWN, WITH_MUTEXES, KnownRace, load_mutex_races, load_races

from kprobesim import CalledKernel, call

REPLAYS = 2
load_once = cache(load_races)


@pytest.fixture
def kernel(arch: str) -> CalledKernel:
    """A sample guest with the races; each test leaves it as it was."""
    return load_once(arch)


def find_replay_and_mend(kernel: CalledKernel, race: KnownRace) -> None:
    found = race.race(kernel, "racy", data_races=False)
    failure = found.failure
    assert failure is not None and failure.kind == race.kind, str(found)
    assert race.where in " ".join((failure.message, *failure.trace))
    preemptions, text = failure.schedule.preemptions, str(failure.schedule)
    assert 1 <= preemptions <= 2
    assert len(text) < 1 << 10
    for _ in range(REPLAYS):
        (again,) = race.race(kernel, "racy", data_races=False, schedule=text).failures
        assert str(again) == str(failure)
    mended = race.race(kernel, "fixed", preemptions=preemptions)
    assert mended.failures == []
    assert mended.schedules >= found.schedules


@pytest.mark.parametrize("race", KNOWN.values(), ids=KNOWN)
def test_it_is_found_replayed_and_mended(kernel: CalledKernel, race: KnownRace) -> None:
    find_replay_and_mend(kernel, race)


@pytest.mark.real_kernel
def test_a_real_kernel_with_its_own_mutexes(real_kernel: CalledKernel, tmp_path: Path) -> None:
    state = real_kernel.fork_state()
    load_mutex_races(real_kernel, tmp_path)
    find_replay_and_mend(real_kernel, KNOWN[WITH_MUTEXES[0]])
    real_kernel.restore_state(state)


def test_all_schedules_of_many_places_are_tried(kernel: CalledKernel) -> None:
    found = kernel.race(a=call("store_often", 8), b=call("store_often", 5))
    p, q = found.points
    assert (p, q) == (8, 5)
    assert found.schedules == 2 + p + q + 2 * p * q


def test_who_waits_often_is_not_stuck(kernel: CalledKernel) -> None:
    first, second = call("take_turns", 0), call("take_turns", 1)
    assert kernel.race(a=first, b=second, preemptions=0).failures == []
    stuck = kernel.race(a=first, b=first, preemptions=0)
    assert stuck.failure is not None and stuck.failure.kind == "deadlock"
