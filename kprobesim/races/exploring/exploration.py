"""``Exploration``: what came of trying schedules, and the shortest one that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kprobesim.html import facts
from kprobesim.races.exploring.exploring import Explore, expected
from kprobesim.races.exploring.team import Team
from kprobesim.races.exploring.trials import Trial, Trials
from kprobesim.races.failures.failure import Failure
from kprobesim.races.schedule import Schedule, Slice

__all__ = ["Exploration", "RaceInterrupted", "explore_all"]

_LOOK = 64  # trials between two words of progress


@dataclass
class Exploration:
    """The result of :meth:`Kernel.race`.

    Attributes:
        schedules: How many were tried.
        failures: What failed, each with the shortest schedule that was found for it.
        seconds: Of the host's time.
        points: How many places there were where a switch could matter, by CPU.
        problems: What went wrong with workers, in sentences; their runs were made all the same.
    """

    schedules: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    points: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def failure(self) -> Failure | None:
        """The first one, if there is one."""
        return self.failures[0] if self.failures else None

    @property
    def tried(self) -> str:
        """How many schedules, and how fast, in words."""
        count = "1 schedule" if self.schedules == 1 else f"{self.schedules:,} schedules"
        if not self.seconds:
            return count
        speed = self.schedules / self.seconds
        return f"{count}, {speed:,.{0 if speed >= 10 else 1}f} a second"

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "schedules": self.schedules,
            "seconds": round(self.seconds, 3),
            "points": self.points,
            "failures": [failure.as_dict() for failure in self.failures],
            "problems": self.problems,
        }

    def _repr_html_(self) -> str:
        count = len(self.failures)
        words = "no failure" if not count else "1 failure" if count == 1 else f"{count} failures"
        about = [
            ("tried", self.tried),
            ("places by CPU", ", ".join(map(str, self.points))),
            ("problems", "; ".join(self.problems)),
        ]
        return facts(words, about) + "".join(each._repr_html_() for each in self.failures)

    def __str__(self) -> str:
        if not self.failures:
            return f"no failure in {self.tried}"
        return f"{self.failures[0]}\nfound in {self.tried}"


class RaceInterrupted(KeyboardInterrupt):
    """Ctrl-C has ended an exploration.

    Attributes:
        found: What came of it until then.
    """

    def __init__(self, found: Exploration) -> None:
        super().__init__(str(found))
        self.found = found

    def __reduce__(self) -> tuple[Any, ...]:
        return RaceInterrupted, (self.found,)


def explore_all(
    team: Team,
    explore: Explore,
    *,
    most_failures: int = 1,
    report: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Exploration:
    """Try what ``explore`` says until so many kinds of failure were found, each made short.

    With ``report`` each is looked at once more.

    Raises:
        RaceInterrupted: Ctrl-C.
    """
    begun = time.monotonic()
    found = Exploration(points=[0] * len(team.trials.names), problems=team.problems)
    try:
        _try_all(team, explore, found, most_failures, report, progress)
    except KeyboardInterrupt as error:
        found.seconds = time.monotonic() - begun
        raise RaceInterrupted(found) from error
    found.seconds = time.monotonic() - begun
    return found


def _try_all(
    team: Team,
    explore: Explore,
    found: Exploration,
    most_failures: int,
    report: bool,
    progress: Callable[[str], None] | None,
) -> None:
    kinds: set[tuple[str, str]] = set()
    for outcome in explore.outcomes(team):
        found.schedules += 1
        counts = outcome.points.counts()
        for cpu in range(len(found.points)):
            found.points[cpu] = max(found.points[cpu], counts[cpu])
        for failure in outcome.failures:
            if _kind(failure) not in kinds and len(found.failures) < most_failures:
                kinds.add(_kind(failure))
                short = shortest(team.trials, outcome.schedule, failure)
                found.failures.append(team.trials.report(short) if report else short)
        if len(found.failures) >= most_failures:
            break
        if progress is not None and found.schedules % _LOOK == 0:
            progress(_how_far(explore, found))


def _how_far(explore: Explore, found: Exploration) -> str:
    """The schedules so far, and how many there will be as far as that is known."""
    total = expected(explore, found.points)
    of = f" of some {total:,}" if total is not None and total > found.schedules else ""
    failures = f", {len(found.failures)} failures" if found.failures else ""
    return f"{found.schedules:,}{of} schedules{failures}"


def shortest(trials: Trials, schedule: Schedule, failure: Failure) -> Failure:
    """``failure`` of a run with little that is special: one by one is left out."""
    kind, slices = _kind(failure), list(schedule.slices)
    number = 0
    while number < len(slices):
        for simpler in _simpler(slices[number]):
            again = _try(trials, [*slices[:number], simpler, *slices[number + 1 :]])
            same = [each for each in again.failures if _kind(each) == kind] if again else []
            if again is not None and same and _cost(again.run.schedule()) < _cost(slices):
                failure, slices = same[0], list(again.run.schedule())
                break
        else:
            number += 1
    return _without_end(trials, slices, failure)


def _without_end(trials: Trials, slices: Sequence[Slice], failure: Failure) -> Failure:
    """``failure`` of a schedule without the slices at its end that come by themselves."""
    kept = [*slices]
    while kept and not (kept[-1].steps or kept[-1].held or kept[-1].early):
        kept.pop()
    again = _try(trials, kept) if len(kept) < len(slices) else None
    same = [each for each in again.failures if _kind(each) == _kind(failure)] if again else []
    shorter = again is not None and len(again.run.schedule()) < len(slices)
    return same[0] if same and shorter else failure


def _cost(slices: Sequence[Slice]) -> tuple[int, int]:
    """How much is special in a schedule: preemptions, late stores and early loads."""
    special = sum((piece.steps > 0) + bool(piece.held) + len(piece.early) for piece in slices)
    return special, sum(len(piece.held) for piece in slices)


def _simpler(piece: Slice) -> list[Slice]:
    """The same slice with less that is special."""
    whole = [replace(piece, steps=0)] if piece.steps else []
    prompt = [replace(piece, held=())] if piece.held else []
    last = reversed(piece.held)  # fewer may only be seen behind these
    fewer = [replace(piece, held=(step,)) for step in last] if len(piece.held) > 1 else []
    numbers = range(len(piece.early))
    later = [replace(piece, early=(*piece.early[:n], *piece.early[n + 1 :])) for n in numbers]
    return [*whole, *prompt, *fewer, *later]


def _try(trials: Trials, slices: list[Slice]) -> Trial | None:
    from kprobesim.errors import ScheduleError

    try:
        return trials.follow([replace(piece, check=None) for piece in slices])
    except ScheduleError:
        return None


def _kind(failure: Failure) -> tuple[str, str]:
    return failure.kind, failure.alike or failure.message
