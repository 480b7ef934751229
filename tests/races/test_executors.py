"""Workers share the runs of a race: the result is that of one process alone."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from races.executors_setup import dies_elsewhere, elsewhere_other_forks, forks, no_keywords

from kprobesim import (
    CalledKernel,
    Exploration,
    Kernel,
    RaceInterrupted,
    UsageError,
    call,
    pct,
    race_on,
)

FORK = call("do_fork", 0, 0)
FEW: dict[str, Any] = {"explore": pct(depth=2, runs=40), "most_failures": 9}


def told(found: Exploration) -> Any:
    failures = [(each.kind, each.message, str(each.schedule)) for each in found.failures]
    return found.schedules, found.points, failures


@pytest.mark.parametrize(
    "options",
    [{"preemptions": 1}, {"explore": pct(depth=2, runs=60), "most_failures": 9}],
    ids=["exhaustive", "pct"],
)
def test_copies_find_what_one_process_finds(guest: CalledKernel, options: dict[str, Any]) -> None:
    last = call("alloc_pid") if "preemptions" in options else FORK
    alone = guest.race(a=last, b=FORK, **options)
    assert alone.failures
    shared = guest.race(a=last, b=FORK, executor=2, **options)
    assert told(shared) == told(alone)
    assert shared.problems == []
    assert guest.call("nr_running") == 0


def test_workers_that_make_the_kernel_themselves(sample: Path) -> None:
    kernel = Kernel.load(sample)
    alone = kernel.race(**forks(kernel), **FEW)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        found = race_on(pool, sample, forks, **FEW)
    assert told(found) == told(alone)
    with ThreadPoolExecutor(2) as threads:
        found = race_on(threads, sample, forks, **FEW)
    assert told(found) == told(alone)
    assert found.problems == []


def test_on_dask() -> None:
    distributed = pytest.importorskip("distributed")
    sample = Path(__file__).parents[2] / "samples/guest-x86_64.elf"
    kernel = Kernel.load(sample)
    alone = kernel.race(**forks(kernel), explore=pct(runs=40))
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        found = race_on(client.get_executor(), sample, forks, explore=pct(runs=40), workers=2)
    assert told(found) == told(alone)
    assert found.problems == []


def test_a_worker_that_dies_loses_nothing(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACE_MAIN", str(os.getpid()))
    kernel = Kernel.load(sample)
    alone = kernel.race(**forks(kernel), **FEW)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        found = race_on(pool, sample, dies_elsewhere, **FEW)
    assert told(found) == told(alone)
    assert "a worker has failed, its runs were made here" in found.problems[0]
    assert found.as_dict()["problems"] == found.problems


def test_a_setup_that_differs_elsewhere_is_told(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RACE_MAIN", str(os.getpid()))
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(UsageError, match="something else of the kernel in a worker"),
    ):
        race_on(pool, sample, elsewhere_other_forks)


def test_ctrl_c_ends_copies_too(guest: CalledKernel) -> None:
    def interrupt(_text: str) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(RaceInterrupted) as caught:
        guest.race(a=FORK, b=FORK, executor=2, data_races=False, progress=interrupt)
    assert caught.value.found.schedules >= 64
    assert guest.call("nr_running") == 0


def test_what_cannot_share_is_refused(guest: CalledKernel, sample: Path) -> None:
    for executor in (0, 999, "two", ThreadPoolExecutor(1), True):
        with pytest.raises(UsageError, match="executor"):
            guest.race(a=FORK, b=FORK, executor=executor)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is no executor"):
        race_on(2, sample, forks)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must give the keywords"):
        race_on(ThreadPoolExecutor(1), sample, no_keywords)
    with pytest.raises(UsageError, match="workers -1"):
        race_on(ThreadPoolExecutor(1), sample, forks, workers=-1)
