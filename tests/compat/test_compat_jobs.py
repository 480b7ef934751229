"""Several processes answer as one does, and one that dies is told of."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from pathlib import Path

from kprobesim import compatibility
from kprobesim.sources.read import read_text

SAMPLES = Path(__file__).parents[2] / "samples"
BOTH = [SAMPLES / "guest-x86_64.elf", SAMPLES / "guest-arm64.elf"]


class Broken(Executor):
    """Every worker dies."""

    def submit(self, fn: object, /, *args: object, **kwargs: object) -> Future[object]:  # type: ignore[override]
        future: Future[object] = Future()
        future.set_exception(RuntimeError("the worker was killed"))
        return future


def test_processes_answer_as_one_does() -> None:
    source = read_text("gcd\nfib+4\nno_such_function\n", Path("probes.txt"))
    alone, together = (compatibility([source], BOTH, jobs=jobs) for jobs in (1, 2))
    assert together.answers == alone.answers and len(alone.answers) == 6
    assert together.problems == alone.problems


def test_a_worker_that_dies_is_told_of() -> None:
    source = read_text("gcd\n", Path("probes.txt"))
    found = compatibility([source], BOTH, executor=Broken())
    assert found.answers == () and len(found.problems) == 2
    assert all("the worker was killed" in problem.message for problem in found.problems)


def test_nothing_named_is_no_success() -> None:
    source = read_text("BEGIN { }\n", Path("empty.bt"))
    found = compatibility([source], BOTH[:1])
    assert found.answers == () and found.exit_status() == 2
