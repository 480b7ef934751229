"""Contenders measured side by side: in turn, round after round, and compared by their medians.

Turns matter more than repetitions: a machine that gets slower for a second then hits everybody.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from kprobesim.errors import EngineError

__all__ = ["Contender", "Contest", "Target", "check", "seconds"]


@dataclass(frozen=True)
class Target:
    """What a contender is held to: at most ``at_most`` times the median of ``against``.

    Without ``against`` to ``at_most`` in the contest's unit.
    """

    against: str | None
    at_most: float | None = None


@dataclass
class Contender:
    """One way to do the job. ``run`` does one round and returns its figure in the contest's unit.

    ``rounds`` are the figures so far.
    """

    key: str
    label: str
    run: Callable[[], float]
    target: Target | None = None
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one of the rounds' figures."""
        return median(self.rounds)


@dataclass
class Contest:
    """Contenders that do the same job. ``setting`` says what exactly is done, in one line.

    ``most_rounds`` bounds the rounds of what takes seconds.
    """

    arch: str
    key: str
    title: str
    unit: str
    setting: str
    contenders: Sequence[Contender]
    close: Callable[[], None] = lambda: None
    most_rounds: int | None = None

    def play(self, rounds: int, progress: Callable[[str], None]) -> None:
        """Run ``rounds`` rounds after one that does not count (translation, caches)."""
        name = f"{self.arch} {self.key}"
        rounds = rounds if self.most_rounds is None else min(rounds, self.most_rounds)
        gc.collect()
        gc.freeze()  # what there is so far is not walked before each turn
        try:
            for number in range(rounds + 1):
                progress(f"{name}: round {number} of {rounds}" if number else f"{name}: warming up")
                for contender in self.contenders:
                    gc.collect()
                    figure = contender.run()
                    if number:
                        contender.rounds.append(figure)
        finally:
            gc.unfreeze()
            self.close()

    def ratio(self, contender: Contender) -> float | None:
        """How its figures relate to those of the one it is compared with: the median over rounds.

        Round by round, because a machine that slows down for a while slows neighbours down alike.
        """
        if contender.target is None or contender.target.against is None:
            return None
        base = self[contender.target.against]
        pairs = zip(contender.rounds, base.rounds, strict=True)
        ratios = [figure / other for figure, other in pairs if other > 0]
        return median(ratios) if ratios else None

    def met(self, contender: Contender) -> bool | None:
        """Whether the contender keeps its target; ``None`` if it has none."""
        if contender.target is None or contender.target.at_most is None:
            return None
        figure = contender.median if contender.target.against is None else self.ratio(contender)
        return None if figure is None else figure <= contender.target.at_most

    def __getitem__(self, key: str) -> Contender:
        return next(contender for contender in self.contenders if contender.key == key)


def seconds(action: Callable[[], object]) -> float:
    """Processor time of ``action`` in this thread: others' turns on the CPU do not count.

    The garbage collector rests meanwhile.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.thread_time()
        action()
        return time.thread_time() - start
    finally:
        if collecting:
            gc.enable()


def check(what: str, got: object, expected: object) -> None:
    """A figure counts only if the work was done: raises :class:`EngineError` if it was not."""
    if got != expected:
        raise EngineError(f"benchmark: {what} is {got!r}, it has to be {expected!r}")
