"""Who chooses which CPU runs: what each policy says, and what it is called."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from kprobesim.boot.policy import Policy, SwitchPoint, check_policy
from kprobesim.boot.policy_text import parse_policy, policy_text
from kprobesim.boot.priorities import Priorities
from kprobesim.boot.random_turns import RandomTurns
from kprobesim.boot.round_robin import RoundRobin
from kprobesim.errors import UsageError


def picks(policy: Policy, why: str = "time", count: int = 2000) -> list[tuple[int, int]]:
    """What it says at so many moments, to CPU 1 of three."""
    return [policy.pick(SwitchPoint(8000 * n, 1, (0, 1, 2), why)) for n in range(count)]


def test_round_robin_lets_each_have_its_turn() -> None:
    policy = RoundRobin(5)
    chosen = [policy.pick(SwitchPoint(0, last, (0, 2, 3), "time")) for last in range(4)]
    assert chosen == [(2, 5), (2, 5), (3, 5), (0, 5)]


def test_random_turns_are_of_any_cpu_and_length_and_always_the_same() -> None:
    chosen = picks(RandomTurns(seed=3, blocks=50))
    assert chosen == picks(RandomTurns(seed=3, blocks=50)) != picks(RandomTurns(seed=4, blocks=50))
    cpus, lengths = (Counter(each) for each in zip(*chosen, strict=True))
    assert set(cpus) == {0, 1, 2} and min(cpus.values()) > 500
    assert set(lengths) == set(range(1, 100))


def test_priorities_hold_for_a_while() -> None:
    chosen = [cpu for cpu, _ in picks(Priorities(seed=2, every=1000))]
    kept = sum(a == b for a, b in itertools.pairwise(chosen))
    assert kept > 1500 and set(chosen) == {0, 1, 2}


@pytest.mark.parametrize("policy", [RandomTurns(), Priorities(every=100_000)], ids=str)
def test_one_that_spins_lets_another_one_run(policy: Policy) -> None:
    assert sum(cpu == 1 for cpu, _ in picks(policy, "spin")) < 100


@pytest.mark.parametrize(
    "policy",
    [
        RoundRobin(),
        RandomTurns(seed=0, at=("vfs_read+0x1c", "mutex_*")),
        Priorities(5, 20, 300, accesses=("f", "g.part.0")),
    ],
    ids=str,
)
def test_a_policy_is_made_again_from_its_text(policy: Policy) -> None:
    assert parse_policy(policy_text(policy)) == policy


@pytest.mark.parametrize(
    "text",
    ["", "fair", "random:seed", "random:seed=-1", "random:seed=1,seed=2", "round-robin:blocks=0"],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"policy|number"):
        parse_policy(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomTurns(seed=1.5),  # type: ignore[arg-type]
        lambda: RoundRobin(at="vfs_read"),  # type: ignore[arg-type]
        lambda: RoundRobin(at=("a,b",)),
        lambda: check_policy(7),
        lambda: check_policy(type("Mine", (), {"blocks": 0, "pick": print})()),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(UsageError, match=r"give|names of places"):
        make()
