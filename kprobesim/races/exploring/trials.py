"""``Trials``: runs from one and the same state, each judged; what every exploration is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial

from kprobesim.errors import EngineError
from kprobesim.garbage import no_garbage
from kprobesim.races.conflicts.barriers import Barriers
from kprobesim.races.conflicts.data_races import DataRaces
from kprobesim.races.conflicts.value_flows import ValueFlows
from kprobesim.races.exploring.late_stores import seen_late
from kprobesim.races.exploring.points import Points
from kprobesim.races.exploring.report import Reporter
from kprobesim.races.exploring.shared import SharedPlaces
from kprobesim.races.failures.failure import Failure, failure_of_run
from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.lanes.run import Plan, Run
from kprobesim.races.run_log import RunLog
from kprobesim.races.schedule import Schedule, Slice
from kprobesim.schedule_text import text_of

__all__ = ["Judge", "Trial", "Trials"]

Judge = Callable[[Run, Schedule], Failure | None]
"""Looks at the guest after a run that came to its end."""

_OVER = ("invariant", "warning")  # told when all have made their calls
_TWICE = 100  # one run of so many is done again
_MEMORY = "the memory"  # as kernel/left_state.py calls it


@dataclass(frozen=True)
class Trial:
    """A run and what is to be said of it.

    Attributes:
        run: How it went.
        schedule: What it followed.
        log: All loads and stores.
        points: Where a switch could have mattered: (CPU, its instructions before), in order.
        failures: What was wrong.
        shared: What is known of shared memory with it: that of its :class:`Trials` if nothing new.
    """

    run: Run
    schedule: Schedule
    log: RunLog
    points: Points
    failures: Sequence[Failure]
    shared: SharedPlaces

    @property
    def failure(self) -> Failure | None:
        """The first one, if there is one."""
        return self.failures[0] if self.failures else None


class Trials:
    """Runs of the same lanes from the same state.

    Attributes:
        lanes: The lanes.
        names: What they are called.
        shared: What memory the CPUs share, as far as is known; a run does not change it.
        what: The checksum of what is run.
        count: How many runs there were, without those that were done again.
    """

    def __init__(
        self,
        lanes: Lanes,
        reset: Callable[[], object],
        judges: Sequence[Judge],
        what: int,
        data_races: DataRaces | None = None,
        reporter: Reporter | None = None,
        barriers: Barriers | None = None,
        flows: ValueFlows | None = None,
        left: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Nothing has run yet.

        Args:
            lanes: What is run.
            reset: Puts the guest into the state to begin from.
            judges: Asked in order after a run that came to its end.
            what: The checksum of what is run.
            data_races: Finds those of each run.
            reporter: Looks closer at failures.
            barriers: Has them noted, where an architecture's matter to ``data_races``.
            flows: Follows values for ``data_races``.
            left: What a run has left of the guest: a checksum of each part, by its name.
        """
        self.lanes = lanes
        self.names = [lane.name for lane in lanes.lanes]
        self.shared = SharedPlaces()
        self.count = 0
        self._reset = reset
        self._judges = judges
        self._data_races, self._reporter, self._barriers = data_races, reporter, barriers
        self._flows = flows
        self._left = left
        self._seen: Mapping[str, int] = {}  # of the run that was looked at last
        self.what = what
        self._tracked: AbstractSet[int] = frozenset()

    def follow(self, slices: Sequence[Slice], *, strict: bool = False) -> Trial:
        """Run ``slices``, and then all to their end.

        Args:
            slices: A schedule's.
            strict: Each must come out as it is recorded.

        Raises:
            EngineError: It has come out otherwise the second time.
            ScheduleError: It does not come out so.
        """
        self._track(slices if strict else None)
        return self._twice(lambda _run: slices, strict=strict)

    def run(self, plan: Plan) -> Trial:
        """Run ``plan`` and judge it; one run of a hundred is done again.

        Raises:
            EngineError: It has come out otherwise the second time.
        """
        self._track(None)
        return self._twice(plan, strict=False)

    def _twice(self, plan: Plan, *, strict: bool) -> Trial:
        """Run ``plan``, one run of a hundred twice, unless it is ``strict``."""
        twice = self.count % _TWICE == 0 and not strict
        trial = self._once(plan, strict=strict, look=twice)
        while not strict and self._knew_too_little(trial):
            self._track(None, trial.shared)
            trial = self._once(plan, strict=False, look=twice)
        self.count += 1
        if twice:
            self._again(plan, trial)
        return trial

    def _again(self, plan: Plan, trial: Trial) -> None:
        """Run ``plan`` once more; raises :class:`EngineError` if it is not as ``trial``."""
        left = {**self._seen, **_digest(trial)}
        others = [*left]
        for may_have_grown in (True, False):
            again = self._once(plan, strict=False, look=True)
            now = {**self._seen, **_digest(again)}
            others = [name for name, value in now.items() if left.get(name) != value]
            if others != [_MEMORY] or not may_have_grown:
                break
            left = now  # the first one may have made what stays: the stack of a handler's call
        if others:
            raise EngineError(
                "a schedule that was run twice came out in two ways, with others of "
                f"{', '.join(others)}: this is a fault of kprobesim, or handlers of yours did "
                f"something else the second time; please report it with the schedule "
                f"{text_of(trial.schedule)}"
            )

    def _knew_too_little(self, trial: Trial) -> bool:
        """Whether something was late or early, and what it had to wait for was not looked at."""
        special = any(piece.held or piece.early for piece in trial.run.slices)
        return special and not trial.shared.places <= self._tracked

    def _track(self, recorded: Sequence[Slice] | None, shared: SharedPlaces | None = None) -> None:
        """Say which stores may be seen late: those that were, or those to memory that is shared."""
        buffers = self.lanes.buffers
        if buffers is None:
            return
        if recorded is None:
            self._tracked = (self.shared if shared is None else shared).places
            buffers.track(self._tracked, None)
            return
        held: list[set[int]] = [set() for _ in self.names]
        for piece in recorded:
            held[piece.cpu] |= {*piece.held}
        buffers.track(None, held)

    def _once(self, plan: Plan, *, strict: bool, look: bool = False) -> Trial:
        """One run; ``look``: what it leaves is kept, before a run for its data races."""
        run, log = self._run(plan, strict=strict)
        schedule = Schedule(self.what, len(self.names), run.schedule())
        failure = failure_of_run(run, schedule, self.names, self.lanes.actors.callers)
        if failure is None:
            found = (judge(run, schedule) for judge in self._judges)
            failure = next((each for each in found if each is not None), None)
        failures = [] if failure is None else [failure]
        if look:
            self._seen = self._left()
        with no_garbage():
            known = self.shared.learn(log)
            points = known.points(log)
            if self._data_races is not None:
                orders, flow = self.lanes.orders(), None
                if self._flows is not None:
                    flow = partial(self._flows.update, run.slices)
                failures += self._data_races.failures(log, orders, schedule, flow)
        late = seen_late(run, log, self.lanes.symbolize) if failures else ()
        if late:
            failures = [replace(each, late=late) for each in failures]
        if self.lanes.buffers is not None:
            points = points.with_(self.lanes.buffers.waits)
        return Trial(run, schedule, log, points, failures, known)

    def _run(self, plan: Plan, *, strict: bool) -> tuple[Run, RunLog]:
        """Once more, if it came to barriers that nobody knew of."""
        while True:
            self._reset()
            run = self.lanes.run(plan, strict=strict)
            log = self.lanes.run_log()
            if self._barriers is None or not self._barriers.learn(log):
                return run, log

    def fingerprint(self) -> tuple[object, ...]:
        """What a run says that follows nothing: equal where the same is raced from the same state.

        It takes a run.
        """
        self._track(None)
        return self.what, *_digest(self._once(lambda _run: (), strict=False)).values()

    def report(self, failure: Failure, trial: Trial | None = None) -> Failure:
        """``failure`` with where its CPUs stand; it costs some runs.

        Args:
            failure: Of a run from here.
            trial: That run; by default it is done again.
        """
        if self._reporter is None:
            return failure
        if trial is None:
            slices = failure.schedule.slices
            self._track(slices)
            trial = self._once(lambda _run: slices, strict=False)
        return self._reporter.complete(failure, trial.run, trial.log, self.lanes, self._reset)


def _digest(trial: Trial) -> dict[str, object]:
    run = trial.run
    return {
        "the results": run.results,
        "the turns": run.stretches,
        "the failures": [failure.kind for failure in trial.failures],
        "the accesses": trial.log.checksum(),
    }
