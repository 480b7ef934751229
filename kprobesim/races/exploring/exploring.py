"""Which schedules are tried: all with few preemptions, or samples of all.

Exhaustive with a bound on preemptions: Musuvathi and Qadeer, "Iterative Context Bounding for
Systematic Testing of Multithreaded Programs" (PLDI 2007): most races need one or two. PCT:
Burckhardt and others, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs"
(ASPLOS 2010).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kprobesim.errors import UsageError
from kprobesim.races.exploring.job import ByPriority, Follow, Job, Outcome
from kprobesim.races.exploring.late_stores import are_late, one_earlier, one_later
from kprobesim.races.exploring.points import Points
from kprobesim.races.exploring.team import Team
from kprobesim.races.schedule import Early, Slice

__all__ = ["Exhaustive", "Explore", "Pct", "Random", "as_explore", "expected", "pct", "random_"]

_ROUNDS = 2  # of runs that only learn which memory is shared
_LOOKS = 8  # of a round
_SMALLEST, _LARGEST = 16, 256  # runs of a batch
_KEPT = 256  # runs whose places are drawn from, each for itself


class Explore(Protocol):
    """Decides which schedules are tried."""

    def outcomes(self, team: Team) -> Iterator[Outcome]:
        """Try one after the other."""


@dataclass(frozen=True)
class Exhaustive:
    """Every schedule with at most so many preemptions, at all places where one can matter.

    With two CPUs, p and q such places and two preemptions these are 2 + p + q + 2pq.

    Attributes:
        preemptions: At most so many.
    """

    preemptions: int = 2

    def __post_init__(self) -> None:
        if type(self.preemptions) is not int or not 0 <= self.preemptions <= 8:
            raise UsageError(f"preemptions {self.preemptions!r}: give a number from 0 to 8")

    def outcomes(self, team: Team) -> Iterator[Outcome]:
        """Try all, the fewest preemptions first; again where more memory turns out to be shared."""
        tried: set[tuple[tuple[object, ...], ...]] = set()
        known = -1
        self._look_around(team)
        while len(team.trials.shared.places) > known:
            known = len(team.trials.shared.places)
            prefixes = [job.slices for job in _one_by_one(team)]
            for left in range(self.preemptions, -1, -1):
                longer: list[tuple[Slice, ...]] = []
                while prefixes:
                    orders: list[tuple[Slice, ...]] = []
                    for prefix, outcome in _followed(team, prefixes, extends=left > 0):
                        key = _key(outcome.slices)
                        if key not in tried:
                            tried.add(key)
                            yield outcome
                        orders += _other_orders(outcome, len(prefix))
                        if left:
                            longer += _with_one_more(outcome, len(prefix))
                    prefixes = orders
                prefixes = longer

    def _look_around(self, team: Team) -> None:
        numbers, cpus = random.Random(0), len(team.trials.names)
        for _ in range(_ROUNDS):
            seen = [outcome.points for outcome in team.run(_one_by_one(team))]
            points = Points(code for points in seen for code in points.codes)
            looks = [_sample(cpus, points, 2, numbers) for _ in range(_LOOKS)]
            for _ in team.run(looks):
                pass


def _followed(
    team: Team, prefixes: list[tuple[Slice, ...]], *, extends: bool
) -> Iterator[tuple[tuple[Slice, ...], Outcome]]:
    size, at = _SMALLEST, 0
    while at < len(prefixes):
        batch = prefixes[at : at + size]
        jobs = [Follow(slices, extends) for slices in batch]
        yield from zip(batch, team.run(jobs), strict=True)
        at, size = at + size, min(2 * size, _LARGEST)


def _key(slices: Sequence[Slice]) -> tuple[tuple[object, ...], ...]:
    return tuple((one.cpu, one.steps, one.held, one.early) for one in slices)


def _other_orders(outcome: Outcome, length: int) -> Iterator[tuple[Slice, ...]]:
    """The beginnings of schedules in which another CPU goes on where one has made its calls."""
    stretches = outcome.stretches
    over = {piece.cpu: number for number, piece in enumerate(stretches) if piece.why == "over"}
    for number in range(length - 1, len(stretches) - 1):
        if stretches[number].why == "over":
            following = stretches[number + 1].cpu
            for cpu, end in over.items():
                if end > number and cpu != following:
                    yield (*outcome.slices[: number + 1], Slice(cpu))


def _with_one_more(outcome: Outcome, length: int) -> Iterator[tuple[Slice, ...]]:
    """The beginnings of schedules with one more that is special, behind ``length`` slices."""
    yield from _one_more(outcome, length)
    yield from one_later(outcome.slices, outcome.pending, length)
    yield from one_earlier(outcome.slices, outcome.stretches, outcome.early, length)


def _one_more(outcome: Outcome, length: int) -> Iterator[tuple[Slice, ...]]:
    """The beginnings of schedules that preempt once more, behind the first ``length`` slices."""
    stretches, slices = outcome.stretches, outcome.slices
    last = {piece.cpu: number for number, piece in enumerate(stretches)}
    for number in range(length - 1, len(stretches)):
        piece = stretches[number]
        others = [cpu for cpu, end in last.items() if cpu != piece.cpu and end > number]
        if are_late(slices, number):
            others.append(piece.cpu)  # a while passes, and it sees all
        for cpu, step in outcome.points if others else ():
            early = slices[number].early
            after = max([piece.start, *(each.step for each in early)])
            if cpu == piece.cpu and after < step < piece.start + piece.steps:
                before = (*slices[:number], Slice(cpu, step - piece.start, early=early))
                for other in others:
                    yield (*before, Slice(other))


@dataclass(frozen=True)
class Random:
    """Schedules that switch at some of the places where it can matter.

    Attributes:
        runs: How many.
        seed: Another one gives others.
        preemptions: At most so many each.
    """

    runs: int = 1000
    seed: int = 1
    preemptions: int = 4

    def __post_init__(self) -> None:
        _check_counts(runs=self.runs, preemptions=self.preemptions)

    def outcomes(self, team: Team) -> Iterator[Outcome]:
        """Try them."""
        cpus = len(team.trials.names)

        def make(numbers: random.Random, points: Points) -> ByPriority:
            return _sample(cpus, points, numbers.randint(1, self.preemptions), numbers)

        return _sampled(team, self.runs, make, self.seed)


@dataclass(frozen=True)
class Pct:
    """Probabilistic concurrency testing: priorities, which drop at ``depth - 1`` places.

    A bug of depth d, among n CPUs and k places, is found by one run with a probability of at least
    1 / (n * k ** (d - 1)).

    Attributes:
        depth: Of the bugs that are looked for: how many places must come in the right order.
        runs: How many.
        seed: Another one gives others.
    """

    depth: int = 3
    runs: int = 1000
    seed: int = 1

    def __post_init__(self) -> None:
        _check_counts(runs=self.runs, depth=self.depth)

    def outcomes(self, team: Team) -> Iterator[Outcome]:
        """Try them."""
        cpus = len(team.trials.names)

        def make(numbers: random.Random, points: Points) -> ByPriority:
            return _sample(cpus, points, self.depth - 1, numbers)

        return _sampled(team, self.runs, make, self.seed)


def _sampled(
    team: Team,
    runs: int,
    make: Callable[[random.Random, Points], ByPriority],
    seed: int,
) -> Iterator[Outcome]:
    """Runs whose places are drawn from those in the batches before: of all, or of one run.

    All may be too many: a CPU that waits, in each run longer or shorter, has ever more places at
    which it only waits. One run may not have what others do.
    """
    points: dict[int, None] = {}
    early: dict[tuple[int, Early], None] = {}
    runs_seen: dict[Points, None] = {}
    jobs: list[Job] = [*_one_by_one(team)]
    done, size = 0, _SMALLEST
    while done < runs:
        for outcome in team.run(jobs):
            points.update(dict.fromkeys(outcome.points.codes))
            early.update(dict.fromkeys(outcome.early))
            if len(runs_seen) < _KEPT:
                runs_seen[outcome.points] = None
            yield outcome
        done += len(jobs)
        draws = [random.Random(f"{seed}/{n}") for n in range(done, min(done + size, runs))]
        every, single = Points(points), list(runs_seen)
        loads = list(early)
        jobs = []
        for draw in draws:
            job = make(draw, draw.choice(single) if draw.getrandbits(1) else every)
            jobs.append(_some_early(job, loads, draw) if loads else job)
        size = min(2 * size, _LARGEST)


def _sample(cpus: int, points: Points, most: int, numbers: random.Random) -> ByPriority:
    order = numbers.sample(range(cpus), cpus)
    changes = numbers.sample(points, min(most, len(points)))
    return ByPriority(tuple(order), tuple(changes), numbers.getrandbits(32))


def _some_early(job: ByPriority, early: list[tuple[int, Early]], numbers: random.Random) -> Job:
    """``job`` with none, one or two loads that are done early, where that may be."""
    return replace(job, early=tuple(numbers.sample(early, min(numbers.randrange(3), len(early)))))


def _one_by_one(team: Team) -> list[Follow]:
    return [Follow((Slice(cpu),)) for cpu in range(len(team.trials.names))]


def pct(depth: int = 3, runs: int = 1000, seed: int = 1) -> Pct:
    """See :class:`Pct`."""
    return Pct(depth, runs, seed)


def random_(runs: int = 1000, seed: int = 1, preemptions: int = 4) -> Random:
    """See :class:`Random`."""
    return Random(runs, seed, preemptions)


def expected(explore: Explore, points: Sequence[int]) -> int | None:
    """How many schedules there are, as far as known; ``points`` are the places of each CPU."""
    if isinstance(explore, (Pct, Random)):
        return explore.runs
    if not isinstance(explore, Exhaustive) or len(points) != 2 or explore.preemptions > 2:
        return None
    p, q = points
    return (2, 2 + p + q, 2 + p + q + 2 * p * q)[explore.preemptions]


def as_explore(explore: object, preemptions: int) -> Explore:
    """What ``explore=`` of :meth:`Kernel.race` stands for; raises :class:`UsageError`."""
    if explore == "exhaustive":
        return Exhaustive(preemptions)
    if hasattr(explore, "outcomes"):
        return explore
    raise UsageError(f"explore={explore!r}: give 'exhaustive', pct(...) or random_(...)")


def _check_counts(**counts: object) -> None:
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise UsageError(f"{name} {count!r}: give a positive number")
