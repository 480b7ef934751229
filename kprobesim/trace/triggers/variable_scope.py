"""``VariableScope``: which variables of other events' histograms a hist trigger may name.

kernel/trace/trace_events_hist.c: ``find_event_var()``, ``find_match_var()``, ``find_var_file()``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from kprobesim.trace.hist.actions import Handler, HistAction
from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.reference import Variable
from kprobesim.trace.triggers.event_triggers import EventTriggers

__all__ = ["VariableScope"]


class VariableScope:
    """What one trigger may name.

    Args:
        all_triggers: The triggers of each event that has some.
        actions: The trigger's own actions: what they match is looked at first.
    """

    def __init__(
        self, all_triggers: Callable[[], list[EventTriggers]], actions: Sequence[HistAction]
    ) -> None:
        self._all_triggers = all_triggers
        self._matched = [action.event for action in actions if action.handler is Handler.ONMATCH]

    def find(self, group: str | None, event: str | None, name: str) -> Variable | None:
        """The variable of that name.

        Args:
            group: The group of its event; ``None``: of any.
            event: The event.
            name: The variable.

        Raises:
            HistError: Several events have one.
        """
        if group is not None and event is not None:
            return self._of_event((group, event), name)
        found = [self._of_event(event, name) for event in self._matched]
        if not any(found):
            found = [_of(triggers, name) for triggers in self._all_triggers()]
        known = [variable for variable in found if variable is not None]
        if len(known) > 1:
            raise HistError(errno.EINVAL, LogEntry("VAR_NOT_UNIQUE", name))
        return known[0] if known else None

    def _of_event(self, event: tuple[str, str], name: str) -> Variable | None:
        for triggers in self._all_triggers():
            if (triggers.event.group, triggers.event.name) == event:
                return _of(triggers, name)
        return None


def _of(triggers: EventTriggers, name: str) -> Variable | None:
    """The variable that a histogram of an event defines."""
    for trigger in triggers.histograms:
        assert trigger.histogram is not None
        for field in trigger.histogram.definition.variables:
            if field.variable == name:
                return Variable(trigger.histogram, field, name)
    return None
