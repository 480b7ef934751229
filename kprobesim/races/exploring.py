"""Which schedules are tried: all with few preemptions, or samples of all.

Exhaustive with a bound on preemptions: Musuvathi and Qadeer, "Iterative Context Bounding for
Systematic Testing of Multithreaded Programs" (PLDI 2007): most races need one or two. PCT:
Burckhardt and others, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs"
(ASPLOS 2010).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kprobesim.errors import UsageError
from kprobesim.races.lanes import Lanes, Plan, Run
from kprobesim.races.schedule import Slice
from kprobesim.races.trials import Trial, Trials

__all__ = ["Exhaustive", "Explore", "Pct", "Random", "as_explore", "pct", "random_"]

_LOOKS = 16  # runs that only learn which memory is shared


class Explore(Protocol):
    """Decides which schedules are tried."""

    def trials(self, trials: Trials) -> Iterator[Trial]:
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

    def trials(self, trials: Trials) -> Iterator[Trial]:
        """Try all, the fewest preemptions first; again where more memory turns out to be shared."""
        tried: set[tuple[tuple[int, int], ...]] = set()
        known = -1
        self._look_around(trials)
        while len(trials.shared.places) > known:
            known = len(trials.shared.places)
            prefixes: list[tuple[Slice, ...]] = [(Slice(cpu),) for cpu in range(len(trials.names))]
            for left in range(self.preemptions, -1, -1):
                longer: list[tuple[Slice, ...]] = []
                for prefix in prefixes:
                    trial = trials.follow(prefix)
                    key = tuple((piece.cpu, piece.steps) for piece in trial.run.slices)
                    if key not in tried:
                        tried.add(key)
                        yield trial
                    if left:
                        longer += _one_more(trial, len(prefix))
                prefixes = longer

    def _look_around(self, trials: Trials) -> None:
        numbers = random.Random(0)
        for _ in range(_LOOKS):
            trials.run(_sample(trials.lanes, trials.follow(()).points, 2, numbers))


def _one_more(trial: Trial, length: int) -> Iterator[tuple[Slice, ...]]:
    """The beginnings of schedules that preempt once more, behind the first ``length`` slices."""
    stretches, slices = trial.run.stretches, trial.run.slices
    last = {piece.cpu: number for number, piece in enumerate(stretches)}
    for number in range(length - 1, len(stretches)):
        piece = stretches[number]
        others = [cpu for cpu, end in last.items() if cpu != piece.cpu and end > number]
        for cpu, step in trial.points if others else ():
            if cpu == piece.cpu and piece.start < step < piece.start + piece.steps:
                before = (*slices[:number], Slice(cpu, step - piece.start))
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

    def trials(self, trials: Trials) -> Iterator[Trial]:
        """Try them."""
        points: dict[tuple[int, int], None] = {}
        for trial in _one_by_one(trials):
            points.update(dict.fromkeys(trial.points))
            yield trial
        for number in range(len(trials.names), self.runs):
            numbers = random.Random(f"{self.seed}/{number}")
            most = numbers.randint(1, self.preemptions)
            trial = trials.run(_sample(trials.lanes, list(points), most, numbers))
            points.update(dict.fromkeys(trial.points))
            yield trial


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

    def trials(self, trials: Trials) -> Iterator[Trial]:
        """Try them."""
        points: dict[tuple[int, int], None] = {}
        for trial in _one_by_one(trials):
            points.update(dict.fromkeys(trial.points))
            yield trial
        cpus = len(trials.names)
        for number in range(cpus, self.runs):
            numbers = random.Random(f"{self.seed}/{number}")
            order = numbers.sample(range(cpus), cpus)
            some = numbers.sample(list(points), min(self.depth - 1, len(points)))
            trial = trials.run(_Priorities(trials.lanes, order, some).plan)
            points.update(dict.fromkeys(trial.points))
            yield trial


class _Priorities:
    """The plan of one run by priorities."""

    def __init__(self, lanes: Lanes, order: list[int], changes: list[tuple[int, int]]) -> None:
        self._lanes, self._order, self._changes = lanes, order, sorted(changes)

    def plan(self, run: Run) -> Iterable[Slice]:
        """The CPU that comes first in the order runs, until it comes to a change or waits."""
        lanes, order = self._lanes.lanes, list(self._order)
        changes = list(self._changes)
        waited = 0
        while changes and waited < len(lanes):
            cpu = next((cpu for cpu in order if lanes[cpu].at is not None), None)
            if cpu is None:
                return
            done = lanes[cpu].executed
            mine = [step for number, step in changes if number == cpu and step > done]
            yield Slice(cpu, mine[0] - done if mine else 0)
            waited = waited + 1 if run.stretches[-1].why == "waits" else 0
            if mine:
                changes.remove((cpu, mine[0]))
            elif run.stretches[-1].why == "over":
                changes = [change for change in changes if change[0] != cpu]
                continue
            order.remove(cpu)
            order.append(cpu)


def _sample(
    lanes: Lanes, points: Sequence[tuple[int, int]], most: int, numbers: random.Random
) -> Plan:
    cpus = len(lanes.lanes)
    order = numbers.sample(range(cpus), cpus)
    return _Priorities(lanes, order, numbers.sample(list(points), min(most, len(points)))).plan


def _one_by_one(trials: Trials) -> Iterator[Trial]:
    for cpu in range(len(trials.names)):
        yield trials.follow((Slice(cpu),))


def pct(depth: int = 3, runs: int = 1000, seed: int = 1) -> Pct:
    """See :class:`Pct`."""
    return Pct(depth, runs, seed)


def random_(runs: int = 1000, seed: int = 1, preemptions: int = 4) -> Random:
    """See :class:`Random`."""
    return Random(runs, seed, preemptions)


def as_explore(explore: object, preemptions: int) -> Explore:
    """What ``explore=`` of :meth:`Kernel.race` stands for; raises :class:`UsageError`."""
    if explore == "exhaustive":
        return Exhaustive(preemptions)
    if hasattr(explore, "trials"):
        return explore
    raise UsageError(f"explore={explore!r}: give 'exhaustive', pct(...) or random_(...)")


def _check_counts(**counts: object) -> None:
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise UsageError(f"{name} {count!r}: give a positive number")
