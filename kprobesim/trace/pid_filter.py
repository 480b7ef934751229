"""``PidFilter``: which tasks are traced (kernel/trace/pid_list.c, ``trace_ignore_this_task()``)."""

from __future__ import annotations

from functools import reduce

from kprobesim.programs.leaves import Fact
from kprobesim.programs.values import Value, operation

__all__ = ["PidFilter"]


class PidFilter:
    """Tasks by number, of which only some are traced, or some are not.

    Attributes:
        only: Those that are traced; ``None``: all.
        never: Those that are not; ``None``: none of them was named.
    """

    def __init__(self) -> None:
        """All are traced."""
        self.only: frozenset[int] | None = None
        self.never: frozenset[int] | None = None

    def condition(self) -> Value | None:
        """What must be true of a hit; ``None``: nothing."""
        found: Value | None = None
        if self.only is not None:
            found = _among(self.only)
        if self.never is not None:
            others = operation("==", _among(self.never), 0)
            found = others if found is None else operation("&", found, others)
        return found


def _among(pids: frozenset[int]) -> Value:
    """Whether the task is one of ``pids``."""
    tests = [operation("==", Fact("ids") & 0xFFFF_FFFF, pid) for pid in sorted(pids)]
    return reduce(lambda one, other: operation("|", one, other), tests, operation("==", 0, 1))
