"""``Failure``: what went wrong in one run, and the schedule that shows it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.hexrepr import HexRepr
from kprobesim.html import facts, table
from kprobesim.machine.faults import GuestStop
from kprobesim.races.failures.standing import Standing
from kprobesim.races.failures.timeline import Timeline
from kprobesim.races.lanes.run import Run
from kprobesim.races.schedule import Schedule
from kprobesim.schedule_text import text_of

__all__ = ["Callers", "Failure", "failure_of_run"]

Callers = Callable[[Sequence[str]], list[str]]
"""Gives that part of a call trace that lies within the calls of a race."""


@dataclass(frozen=True, repr=False)
class Failure(HexRepr):
    """One run that failed.

    Attributes:
        kind: "oops", "bug", "warning", "deadlock", "hang", "invariant" or "data race".
        message: What is wrong, in a sentence.
        schedule: What to give :meth:`Kernel.race` to see it again.
        cpu: On which CPU it showed; ``None``: on none alone.
        trace: The callers there.
        error: The guest's error, if that is what ended the run.
        details: More that the kind has, for machines.
        alike: What failures of the same kind have in common that are one and the same; "": their
            messages.
        standings: What the CPUs were about: at the accesses of a data race (before them a load that
            is outdated by then), else at the end.
        timeline: The run, for :meth:`save`; ``None``: it was not looked at.
        late: Which stores other CPUs have seen late, in the order of the slices.
        at: The instruction at whose first execution it showed, of a warning; else 0.
    """

    kind: str
    message: str
    schedule: Schedule
    cpu: int | None = None
    trace: tuple[str, ...] = ()
    error: Exception | None = None
    details: Any = None
    alike: str = ""
    standings: tuple[Standing, ...] = ()
    timeline: Timeline | None = field(default=None, repr=False, compare=False)
    late: tuple[str, ...] = ()
    at: int = 0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run as a file for Perfetto (``.perfetto-trace``): a track a CPU.

        An instruction is a microsecond there. Accesses of a data race, and switches, are instants.

        Raises:
            UsageError: The file cannot be written, or the run was not looked at (``report=False``).
        """
        if self.timeline is None:
            raise UsageError("the run was not looked at: it was raced with report=False")
        self.timeline.save(os.fspath(path))

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.message}"]
        if not self.standings:
            lines += [f"  {line}" for line in self.trace]
        lines += [f"  {line}" for each in self.standings for line in each.lines()]
        lines += [f"  seen late: {each}" for each in self.late]
        lines.append(
            f"schedule: {text_of(self.schedule)}  ({self.schedule.describe() or 'one by one'})"
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The failure, where each CPU stands, one beside the other, and the schedule."""
        about: list[tuple[str, object]] = [
            ("callers", "" if self.standings else "\n".join(self.trace)),
            ("seen late", "\n".join(self.late)),
            ("what ran", "\n".join(self.schedule.words())),
            ("schedule", text_of(self.schedule)),
        ]
        text = f"{self.kind}: {self.message}"
        if not self.standings:
            return facts(text, about)
        stand = [each.lines() for each in self.standings]
        heads = [head for head, *_ in stand]
        rest = ["\n".join(line.strip() for line in lines) for _, *lines in stand]
        return table(heads, [rest], caption=text) + facts("", about)

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "kind": self.kind,
            "message": self.message,
            "schedule": text_of(self.schedule),
            "slices": [[piece.cpu, piece.steps] for piece in self.schedule.slices],
            "cpu": self.cpu,
            "trace": list(self.trace),
            "error": None if self.error is None else str(self.error),
            "standings": [each.as_dict() for each in self.standings],
            "late": list(self.late),
        }


def failure_of_run(
    run: Run, schedule: Schedule, names: Sequence[str], callers: Callers
) -> Failure | None:
    """What the guest itself did wrong in ``run``; ``None``: it came to its end.

    Args:
        run: The run.
        schedule: What it followed.
        names: Of the lanes, by CPU.
        callers: Of a trace, those within the calls.
    """
    if run.error is not None:
        error, cpu = run.error, run.error_cpu
        kind = "bug" if type(error).__name__ == "GuestBug" else "oops"
        trace = tuple(callers(error.trace)) if isinstance(error, GuestStop) else ()
        message = f"{names[cpu]} on CPU {cpu}: {str(error).splitlines()[0]}"
        return Failure(kind, message, schedule, cpu, trace, error)
    if run.stuck:
        many = len(run.stuck) > 1
        who = " and ".join(f"{names[cpu]} on CPU {cpu}" for cpu in run.stuck)
        if run.endless:
            message = f"{who} come{'s' * (not many)} to no end"
            return Failure("hang", message, schedule, None if many else run.stuck[0])
        return Failure("deadlock", f"{who} wait{'s' * (not many)} for ever", schedule)
    return None
