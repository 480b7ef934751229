"""What the user's invariant says of the results of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kprobesim.races.failures.failure import Failure
from kprobesim.races.lanes.run import Run
from kprobesim.races.planned import PlannedCall
from kprobesim.races.schedule import Schedule

__all__ = ["judge_results"]


def judge_results(
    invariant: Callable[[dict[str, Any]], object] | None,
    plan: Mapping[str, Sequence[PlannedCall]],
    run: Run,
    schedule: Schedule,
) -> Failure | None:
    """The failure of an invariant that does not hold after ``run``; ``None``: it does.

    Args:
        invariant: Asked with the results by name; ``None``: there is none.
        plan: What was called, by name.
        run: The run.
        schedule: What it followed.
    """
    if invariant is None:
        return None
    results = {
        name: values[0] if len(calls) == 1 else values
        for (name, calls), values in zip(plan.items(), run.results, strict=True)
    }
    try:
        told = invariant(results)
    except AssertionError as error:
        told = str(error) or "an assertion of the invariant fails"
    if told is None or told is True:
        return None
    text = told if isinstance(told, str) else f"the invariant does not hold: {results}"
    return Failure("invariant", text, schedule, details=results, alike="invariant")
