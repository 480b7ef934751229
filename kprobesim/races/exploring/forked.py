"""``Forked``: copies of this process share the runs; a copy has the guest as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kprobesim.errors import UsageError
from kprobesim.races.exploring.job import Job, Outcome, do
from kprobesim.races.exploring.shared import SharedPlaces
from kprobesim.races.exploring.team import Workers
from kprobesim.races.exploring.trials import Trials
from kprobesim.worker_pool import stoppable, worker_pool

__all__ = ["Forked"]

_MOST = 256


@dataclass(frozen=True)
class Forked:
    """So many copies.

    Attributes:
        count: How many.
    """

    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST:
            raise UsageError(f"executor {self.count}: give 1 to {_MOST} processes")

    @contextmanager
    def team(self, trials: Trials, look: Callable[[], object]) -> Iterator[Workers]:
        """See :meth:`~kprobesim.races.exploring.team.Crew.team`."""
        _Kept.trials = trials
        try:
            with worker_pool(self.count, forked=True) as pool:
                yield Workers(trials, pool, self.count, _work, look)
        finally:
            _Kept.trials = None


class _Kept:
    """What a copy finds when it begins."""

    trials: Trials | None = None


def _work(shared: SharedPlaces, jobs: Sequence[Job]) -> list[Outcome]:
    return stoppable(_do, shared, jobs)


def _do(shared: SharedPlaces, jobs: Sequence[Job]) -> list[Outcome]:
    trials = _Kept.trials
    assert trials is not None
    trials.shared = shared
    return [do(job, trials) for job in jobs]
