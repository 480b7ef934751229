"""``TriggersByArray``: the triggers of the top of tracefs, and of each instance."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.filters.facts import FilterFacts
from kprobesim.trace.synthetic.events import SyntheticEvents
from kprobesim.trace.trace_array import TraceArray
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.triggers.commands import Triggers

__all__ = ["TriggersByArray"]


class TriggersByArray:
    """The triggers of one kernel.

    Attributes:
        synthetic: Its synthetic events; ``None``: it has none of them.

    Args:
        tracing: Its tracing.
        facts: What filters ask of it.
        log: What was refused.
        commands: The commands that it has.
    """

    def __init__(
        self, tracing: Tracing, facts: FilterFacts, log: ErrorLog, commands: Sequence[str]
    ) -> None:
        self._tracing = tracing
        self._about = facts, log, SyntheticEvents(tracing, log), commands
        self.synthetic = self._about[2] if "hist" in commands else None
        self._known: dict[TraceArray, Triggers] = {}

    @property
    def top(self) -> Triggers:
        """Those of the events at the top of tracefs."""
        return self.of(self._tracing)

    def of(self, array: TraceArray) -> Triggers:
        """Those of the events of ``array``, the top or an instance that is there."""
        if array not in self._known:
            there = {self._tracing, *self._tracing.instances.values()}
            self._known = {each: its for each, its in self._known.items() if each in there}
            self._known[array] = Triggers(array, *self._about)
        return self._known[array]
