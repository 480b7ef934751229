"""``race_on()``: a race whose runs any executor's workers share, on any machine.

A worker makes the kernel itself, from its file or a snapshot, or boots it, and asks the same
``setup`` what is raced. A run of both is compared before anything is believed.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.called import CalledKernel
from kprobesim.races.exploring.exploration import Exploration
from kprobesim.races.exploring.exploring import Explore
from kprobesim.races.exploring.job import Job, Outcome, do
from kprobesim.races.exploring.shared import SharedPlaces
from kprobesim.races.exploring.team import Workers
from kprobesim.races.exploring.trials import Trials
from kprobesim.snapshot.container import is_snapshot

__all__ = ["RaceSetup", "race_on"]

RaceSetup = Callable[[Any], Mapping[str, Any]]
"""Makes a kernel ready, and gives what is raced: keywords of :meth:`Kernel.race`.

Its argument is a :class:`CalledKernel` or, of a snapshot or with ``boot=``, a
:class:`BootedKernel`.
"""

_Kernel = CalledKernel | BootedKernel
_OF_SETUP = ("invariant", "data_races", "memory", "delay", "debug")
_WORKERS = 8  # where an executor does not say how many it has


def race_on(
    executor: Executor,
    image: str | os.PathLike[str],
    setup: RaceSetup,
    *,
    workers: int | None = None,
    load: Mapping[str, Any] | None = None,
    boot: Mapping[str, Any] | None = None,
    explore: str | Explore = "exhaustive",
    preemptions: int = 2,
    most_failures: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Exploration:
    """Race calls as :meth:`Kernel.race` does, with an executor's workers sharing the runs.

    The result is that of one process alone, whoever works and however many do. Runs of a worker
    that dies are made here, and :attr:`Exploration.problems` tells of it.

    Args:
        executor: Any of ``concurrent.futures``' kind, as of ``dask.distributed``'s
            ``client.get_executor()``.
        image: The kernel's file, or a snapshot, by a name that workers know it by, too.
        setup: A function that workers can import: it gets the kernel, makes it ready, and gives
            the programs by name, and if need be ``invariant=``, ``data_races=``, ``memory=``,
            ``delay=`` and ``debug=``.
        workers: How many there are; by default what the executor says.
        load: Options of :meth:`Kernel.load`; of a snapshot, of :meth:`Kernel.resume`.
        boot: Options of :meth:`Kernel.boot`, which takes the place of these: each worker boots, and
            ``setup`` lets the guest run to where it is calm.
        explore: As for :meth:`Kernel.race`.
        preemptions: As there.
        most_failures: As there.
        progress: As there.

    Raises:
        UsageError: As there; or ``setup`` makes something else of the kernel in a worker.
        RaceInterrupted: Ctrl-C; it tells what was found so far.
    """
    if not callable(getattr(executor, "submit", None)):
        raise UsageError(f"{executor!r} is no executor: it has no submit()")
    if boot is not None and (load is not None or is_snapshot(image)):
        raise UsageError("boot= is for kernels that boot: give no load= and no snapshot")
    options = {} if load is None else dict(load)
    recipe = _Recipe(os.fspath(image), setup, options, None if boot is None else dict(boot))
    kernel, given = recipe.make()
    count = workers or getattr(executor, "_max_workers", None) or _WORKERS
    if type(count) is not int or count < 1:
        raise UsageError(f"workers {workers!r}: give a positive number")
    return kernel.race(
        **given,
        executor=_Remote(executor, recipe, count),
        explore=explore,
        preemptions=preemptions,
        most_failures=most_failures,
        progress=progress,
    )


@dataclass(frozen=True)
class _Recipe:
    """How to make what is raced."""

    image: str
    setup: RaceSetup
    load: Mapping[str, Any]
    boot: Mapping[str, Any] | None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def make(self) -> tuple[_Kernel, dict[str, Any]]:
        kernel: _Kernel
        if self.boot is not None:
            kernel = Kernel.boot(self.image, **self.boot)
        elif is_snapshot(self.image):
            kernel = Kernel.resume(self.image, **self.load)
        else:
            kernel = Kernel.load(self.image, **self.load)
        given = self.setup(kernel)
        if not isinstance(given, Mapping):
            raise UsageError(
                f"setup gives {given!r}: it must give the keywords of Kernel.race that say what is "
                "raced, as in {'a': call('f'), 'b': call('g')}"
            )
        return kernel, dict(given)


@dataclass(frozen=True)
class _Remote:
    """Workers that make the kernel themselves."""

    executor: Executor
    recipe: _Recipe
    count: int

    @contextmanager
    def team(self, trials: Trials, look: Callable[[], object]) -> Iterator[Workers]:
        """See :meth:`~kprobesim.races.exploring.team.Crew.team`."""
        work = partial(_work, self.recipe, trials.fingerprint())
        yield Workers(trials, self.executor, self.count, work, look)


class _Here(threading.local):
    """What a worker's thread has open, for the next piece of the same race."""

    name = ""
    kernel: _Kernel
    trials: Trials
    ending: ExitStack


_here = _Here()


def _work(
    recipe: _Recipe, fingerprint: object, shared: SharedPlaces, jobs: Sequence[Job]
) -> list[Outcome]:
    if _here.name != recipe.name:
        _open(recipe, fingerprint)
    turn, trials = _here.kernel.machine.turn, _here.trials
    with turn:
        turn.level = turn.count
        trials.shared = shared
        return [do(job, trials) for job in jobs]


def _open(recipe: _Recipe, fingerprint: object) -> None:
    if _here.name:
        _here.name = ""
        with _here.kernel.machine.turn:
            _here.ending.close()
    kernel, given = recipe.make()
    kept = {name: given.pop(name) for name in _OF_SETUP if name in given}
    with kernel.machine.turn, ExitStack() as stack:
        trials, ending = kernel.open_race(given, **kept)
        stack.enter_context(ending)
        if trials.fingerprint() != fingerprint:
            raise UsageError(
                "setup makes something else of the kernel in a worker: its file, what setup does "
                "and the package must be the same everywhere"
            )
        _here.ending = stack.pop_all()
    _here.kernel, _here.trials = kernel, trials
    _here.name = recipe.name
