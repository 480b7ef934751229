"""Who makes the runs of an exploration: this process alone, or workers that share them.

An exploration asks for runs batch by batch. What a run says depends on itself and on what was known
when its batch began, never on the others of the batch. So whoever makes them, and however many they
are, the same comes out in the same order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import AbstractContextManager
from typing import Protocol

from kprobesim.errors import KprobesimError
from kprobesim.races.exploring.job import Job, Outcome, do
from kprobesim.races.exploring.shared import SharedPlaces
from kprobesim.races.exploring.trials import Trials

__all__ = ["Alone", "Crew", "Team", "Work", "Workers"]

_PIECES = 2  # of a batch, for each worker
_FEWEST = 4  # runs of a piece
_NAP = 0.1  # seconds between two looks whether we are to stop

Work = Callable[[SharedPlaces, Sequence[Job]], list[Outcome]]
"""What a worker does: can be pickled."""


class Team(Protocol):
    """Makes runs.

    Attributes:
        trials: Runs of the same kind in this process.
        problems: What went wrong with workers, in sentences.
    """

    trials: Trials
    problems: list[str]

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Make a batch; what it has found out of memory that is shared is known at its end."""


class Crew(Protocol):
    """Who can be made a team of."""

    def team(self, trials: Trials, look: Callable[[], object]) -> AbstractContextManager[Team]:
        """Workers for runs of the kind of ``trials``; ``look`` as for :class:`Workers`."""


class Alone:
    """This process makes them, one by one, as they are asked for."""

    def __init__(self, trials: Trials) -> None:
        """With ``trials`` that are open."""
        self.trials = trials
        self.problems: list[str] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See :meth:`Team.run`."""
        trials, fresh = self.trials, []
        for job in jobs:
            outcome = do(job, trials)
            if outcome.fresh is not None:
                fresh.append(outcome.fresh)
            yield outcome
        if fresh:
            trials.shared = trials.shared.with_(*fresh)


class Workers:
    """An executor's make them; what one of those cannot do is done here."""

    def __init__(
        self,
        trials: Trials,
        executor: Executor,
        count: int,
        work: Work,
        look: Callable[[], object],
    ) -> None:
        """Nobody works yet.

        Args:
            trials: Runs of the same kind in this process.
            executor: Who runs the work.
            count: How many workers it has, about.
            work: What one does with a piece of a batch.
            look: Called now and then while they work; may raise.
        """
        self.trials = trials
        self.problems: list[str] = []
        self._executor, self._count = executor, count
        self._work, self._look = work, look

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See :meth:`Team.run`."""
        shared, fresh = self.trials.shared, []
        size = max(_FEWEST, -(-len(jobs) // (self._count * _PIECES)))
        pieces = [jobs[at : at + size] for at in range(0, len(jobs), size)]
        pending: deque[tuple[Future[list[Outcome]] | None, Sequence[Job]]] = deque()
        try:
            for piece in pieces:
                pending.append((self._submit(shared, piece), piece))
            while pending:
                for outcome in self._outcomes(*pending.popleft()):
                    if outcome.fresh is not None:
                        fresh.append(outcome.fresh)
                    yield outcome
        finally:
            for future, _ in pending:
                if future is not None:
                    future.cancel()
        if fresh:
            self.trials.shared = shared.with_(*fresh)

    def _submit(self, shared: SharedPlaces, jobs: Sequence[Job]) -> Future[list[Outcome]] | None:
        try:
            return self._executor.submit(self._work, shared, jobs)
        except Exception as error:  # a worker was killed, or it was shut down
            self._failed(error)
            return None

    def _outcomes(
        self, future: Future[list[Outcome]] | None, jobs: Sequence[Job]
    ) -> Iterator[Outcome]:
        if future is not None:
            try:
                yield from self._wait(future)
                return
            except KprobesimError:
                raise
            except Exception as error:
                if not _is_workers_end(error):
                    raise
                self._failed(error)
        for job in jobs:
            yield do(job, self.trials)

    def _wait(self, future: Future[list[Outcome]]) -> list[Outcome]:
        while True:
            try:
                return future.result(_NAP)
            except NotYet:
                if future.done():  # what it raised is called the same
                    return future.result()
                self._look()

    def _failed(self, error: Exception) -> None:
        text = f"a worker has failed, its runs were made here ({type(error).__name__}: {error})"
        if text not in self.problems:
            self.problems.append(text)


def _is_workers_end(error: Exception) -> bool:
    """Whether it tells of a worker that has died, not of what it did."""
    return any(kind.__name__ in _ENDS for kind in type(error).__mro__)


_ENDS = {"BrokenExecutor", "KilledWorker", "CancelledError", "CommClosedError", "PicklingError"}
"""Of concurrent.futures, and of Dask, which need not be there."""
