"""A run that is to be made, and what came of it: small, so that workers can be sent them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kprobesim.races.exploring.late_stores import SomeLate
from kprobesim.races.exploring.points import Points
from kprobesim.races.exploring.shared import SharedPlaces
from kprobesim.races.exploring.trials import Trials
from kprobesim.races.failures.failure import Failure
from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.lanes.run import Plan, Run, Stretch
from kprobesim.races.memory.store_buffer import Pending
from kprobesim.races.schedule import Early, Schedule, Slice

__all__ = ["ByPriority", "Follow", "Job", "Outcome", "do"]


class Job(Protocol):
    """A run that is to be made.

    Attributes:
        extends: Whether others are made of it, with more that is special.
    """

    @property
    def extends(self) -> bool:
        """See the class."""

    def plan(self, lanes: Lanes) -> Plan:
        """What the run is to follow."""


@dataclass(frozen=True)
class Follow:
    """Run these slices, and then all to their end."""

    slices: tuple[Slice, ...]
    extends: bool = True

    def plan(self, lanes: Lanes) -> Plan:
        """What the run is to follow."""
        return lambda _run: self.slices


@dataclass(frozen=True)
class ByPriority:
    """The CPU that comes first in the order runs, until it comes to a change or waits.

    Attributes:
        order: CPUs, the most important first.
        changes: Where a CPU becomes the least important: (CPU, its instructions before).
        seed: Of what CPUs keep from each other's sight, where they do.
        early: Loads that are done early, where that may be: their CPU, and before what.
    """

    order: tuple[int, ...]
    changes: tuple[tuple[int, int], ...]
    seed: int
    early: tuple[tuple[int, Early], ...] = ()
    extends: bool = True

    def plan(self, lanes: Lanes) -> Plan:
        """What the run is to follow."""
        return lambda run: self._slices(lanes, run)

    def _slices(self, all_lanes: Lanes, run: Run) -> Iterable[Slice]:
        lanes, order = all_lanes.lanes, list(self.order)
        changes = sorted(self.changes)
        late = None if all_lanes.buffers is None else SomeLate(all_lanes, self.seed)
        waited = 0
        while (changes or late) and waited < len(lanes):
            cpu = next((cpu for cpu in order if lanes[cpu].at is not None), None)
            if cpu is None:
                return
            done = lanes[cpu].executed
            mine = [step for number, step in changes if number == cpu and step > done]
            early = tuple(sorted(each for n, each in self.early if n == cpu and each.step >= done))
            yield Slice(cpu, mine[0] - done if mine else 0, early=early)
            if late is not None:
                late.choose(run)
            waited = waited + 1 if run.stretches[-1].why == "waits" else 0
            if mine:
                changes.remove((cpu, mine[0]))
            elif run.stretches[-1].why == "over":
                changes = [change for change in changes if change[0] != cpu]
                continue
            order.remove(cpu)
            order.append(cpu)


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        slices: What it followed, with checks.
        stretches: What the CPUs did, in order.
        pending: At the end of each slice, what its CPU could have kept from the others' sight.
        schedule: What shows it again.
        points: Where a switch could have mattered: (CPU, its instructions before), in order.
        failures: What was wrong.
        fresh: What it used that was not known before.
        early: Which loads could have been done earlier: their CPU, and before what.
    """

    slices: Sequence[Slice]
    stretches: Sequence[Stretch]
    pending: Sequence[Pending]
    schedule: Schedule
    points: Points
    failures: Sequence[Failure]
    fresh: SharedPlaces | None
    early: Sequence[tuple[int, Early]] = ()


def do(job: Job, trials: Trials) -> Outcome:
    """Make the run; raises what :meth:`Trials.run` does."""
    trial = trials.run(job.plan(trials.lanes))
    run, known = trial.run, trials.shared
    fresh = None if trial.shared is known else trial.shared.without(known)
    pending, schedule = run.pending, trial.schedule
    buffers = trials.lanes.buffers
    early = () if buffers is None or not job.extends else buffers.early_loads()
    return Outcome(
        run.slices,
        run.stretches,
        pending,
        schedule,
        trial.points,
        trial.failures,
        fresh,
        early,
    )
