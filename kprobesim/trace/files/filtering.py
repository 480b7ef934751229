"""The files ``filter`` of events and of groups (kernel/trace/trace_events_filter.c)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.files.node import File, Setting
from kprobesim.trace.filters.error import FilterError
from kprobesim.trace.filters.event_filter import apply_filter, apply_group_filter
from kprobesim.trace.filters.facts import FilterFacts

__all__ = ["FilterFiles"]

_OF_GROUP = (
    "### global filter ###\n"
    "# Use this to set filters for multiple events.\n"
    "# Only events with the given fields will be affected.\n"
    "# If no events are modified, an error message will be displayed here\n"
)


class FilterFiles:
    """Makes them.

    Args:
        facts: The kernel.
        log: What was refused.
    """

    def __init__(self, facts: FilterFacts, log: ErrorLog) -> None:
        self._facts = facts
        self._log = log

    def of_event(self, event: TraceEvent) -> dict[str, File]:
        """The file of an event: its filter, or why the last one was refused."""

        def write(text: str) -> None:
            try:
                apply_filter(event, text, self._facts)
            except FilterError as error:
                self._log.write(error.entry)
                raise

        return {"filter": Setting(lambda: f"{event.filter}\n", write)}

    def of_group(self, events: Callable[[], Iterable[TraceEvent]]) -> dict[str, File]:
        """The file of a group, whose filter each of its events gets that has the fields."""

        def write(text: str) -> None:
            for error in apply_group_filter(list(events()), text, self._facts):
                self._log.write(error.entry)

        return {"filter": Setting(lambda: _OF_GROUP, write)}
