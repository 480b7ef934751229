"""What one hit costs: a guest loop with something planted in it, less the same loop without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kprobesim.bench.contest import check, seconds

__all__ = ["Planting", "hit_cost", "verify_count"]


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
