"""What one hit costs: a guest loop with something planted in it, less the same loop without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kprobesim.bench.contest import check, seconds

__all__ = ["HitCounter", "Planting", "handled_cost", "hit_cost", "verify_count"]


def _nothing(_hits: int) -> None:
    """There is nothing to look at."""


@dataclass(frozen=True)
class Planting:
    """Something in the loop's way: how it is taken out, and how it is looked at afterwards."""

    remove: Callable[[], object]
    verify: Callable[[int], object] = _nothing
    """Called after each run with the number of hits that were made; raises what is wrong."""


def hit_cost(call: Callable[[int], object], plant: Callable[[], Planting], hits: int) -> float:
    """Nanoseconds a hit.

    Args:
        call: Runs the loop with so many turns, each a hit.
        plant: Plants what is measured.
        hits: How many hits are timed, after as many that are not.
    """
    call(hits)
    without = seconds(lambda: call(hits))
    planted = plant()
    try:
        call(hits)
        planted.verify(hits)
        probed = seconds(lambda: call(hits))
        planted.verify(hits)
    finally:
        planted.remove()
    return (probed - without) / hits * 1e9


def verify_count(what: str, counted: Callable[[], int]) -> Callable[[int], None]:
    """Checks that ``counted()`` has grown by the number of hits since it was last looked at."""
    before = counted()

    def verify(hits: int) -> None:
        nonlocal before
        now = counted()
        check(f"the number of {what}", now - before, hits)
        before = now

    return verify


class HitCounter:
    """A handler of any kind that only counts."""

    def __init__(self) -> None:
        self.hits = 0

    def __call__(self, *_: object) -> None:
        """One hit."""
        self.hits += 1

    def check(self, expected: int) -> None:
        """Raise :class:`EngineError` for another number."""
        check("the number of hits", self.hits, expected)


def handled_cost(
    call: Callable[[int], object],
    plant: Callable[..., Callable[[], object]],
    handlers: Sequence[Callable[..., Any]],
    hits: int,
) -> float:
    """As :func:`hit_cost`, for handlers; in a run before, ones that count stand in for them.

    Args:
        call: As there.
        plant: Plants as many handlers, and returns what takes them out.
        handlers: Those that are timed.
        hits: As there.
    """
    counters = [HitCounter() for _ in handlers]
    remove = plant(*counters)
    try:
        call(hits)
    finally:
        remove()
    for counter in counters:
        counter.check(hits)
    return hit_cost(call, lambda: Planting(plant(*handlers)), hits)
