"""``HistCommands``: hist triggers that are written, changed and removed.

kernel/trace/trace_events_hist.c: ``event_hist_trigger_parse()``, ``hist_register_trigger()``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.filters.event_filter import fields_of
from kprobesim.trace.filters.nodes import Node
from kprobesim.trace.hist.attributes import parse_attributes, split_filter
from kprobesim.trace.hist.definition import HistDefinition, define_hist
from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.histogram import Histogram, HistStream
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.triggers.event_triggers import EventTriggers
from kprobesim.trace.triggers.gate import Gate
from kprobesim.trace.triggers.trigger import Trigger, TriggerType

__all__ = ["HistCommands"]

Understand = Callable[[TraceEvent, "str | None"], "tuple[str | None, Node | None]"]


@dataclass
class _Named:
    """A histogram that has a name, and the triggers that share it."""

    histogram: Histogram
    triggers: list[Trigger] = field(default_factory=list)


class HistCommands:
    """The hist triggers of one kernel.

    Args:
        tracing: Its tracing.
        version: Its version.
        log: What was refused.
        understand: Reads the filters of triggers.
    """

    def __init__(
        self, tracing: Tracing, version: tuple[int, ...], log: ErrorLog, understand: Understand
    ) -> None:
        self._tracing = tracing
        self._version = version
        self._log = log
        self._understand = understand
        self._named: dict[str, _Named] = {}

    def write(self, triggers: EventTriggers, about: str, *, removes: bool) -> None:
        """Add a hist trigger, change one that is there, or remove it.

        Args:
            triggers: Those of the event.
            about: What stands behind ``hist:``.
            removes: Whether a ``!`` stood before it.

        Raises:
            OSError: It is refused, with the kernel's errno.
        """
        try:
            self._write(triggers, about, removes=removes)
        except HistError as error:
            event = triggers.event
            for entry in error.logged:
                self._log.write(entry.text(f"{event.group}:{event.name}", about))
            raise

    def _write(self, triggers: EventTriggers, about: str, *, removes: bool) -> None:
        if not about:
            raise HistError(errno.EINVAL)
        text, condition = split_filter(about)
        attributes = parse_attributes(text.replace(".sym-offset", ".symXoffset"), self._version)
        fields = fields_of(triggers.event, self._version)
        taken = () if removes else _variables(triggers)
        definition = define_hist(attributes, fields, self._version, taken)
        filter_text, node = self._understand(triggers.event, condition)
        same = self._same(triggers, definition, filter_text)
        if removes:
            if same is not None:
                triggers.remove(same)
                self.forget(same)
            return
        named = self._named.get(attributes.name) if attributes.name else None
        if attributes.name and named is None:
            same = None
        if same is not None and _change(same, definition):
            return
        if named is not None and not definition.matches(named.histogram.definition):
            raise HistError(errno.EINVAL, LogEntry("NAMED_MISMATCH", attributes.name))
        if same is not None:
            raise HistError(errno.EEXIST, LogEntry("TRIGGER_EEXIST", ""))
        if attributes.cont or attributes.clear:
            raise HistError(errno.ENOENT, LogEntry("TRIGGER_ENOENT_CLEAR", ""))
        histogram = named.histogram if named is not None else self._new(definition)
        trigger = Trigger("hist", TriggerType.EVENT_HIST, None, -1, filter_text, node)
        trigger.histogram, trigger.gate = histogram, Gate(histogram.stream)
        trigger.hist = about
        if attributes.pause:
            trigger.pause(True)
        triggers.add(trigger)
        if attributes.name:
            self._named.setdefault(attributes.name, _Named(histogram)).triggers.append(trigger)

    def _new(self, definition: HistDefinition) -> Histogram:
        tracing = self._tracing
        return Histogram(definition, tracing.new_stream(HistStream), tracing.stack_traces.numbers)

    def _same(
        self, triggers: EventTriggers, definition: HistDefinition, filter_text: str | None
    ) -> Trigger | None:
        """The trigger of the event that the kernel takes for that one."""
        named = self._named.get(definition.attributes.name)
        for trigger in triggers.histograms:
            assert trigger.histogram is not None
            name = trigger.histogram.definition.attributes.name
            shared = trigger in named.triggers if named is not None else not name
            alike = shared and definition.matches(trigger.histogram.definition)
            if alike and trigger.filter_text == filter_text:
                return trigger
        return None

    def forget(self, trigger: Trigger) -> None:
        """A trigger is gone; a name is gone with the last of its triggers."""
        for name, named in [*self._named.items()]:
            if trigger in named.triggers:
                named.triggers.remove(trigger)
                if not named.triggers:
                    del self._named[name]


def _variables(triggers: EventTriggers) -> list[str]:
    """The variables that an event's histograms define."""
    return [
        field.variable
        for trigger in triggers.histograms
        if trigger.histogram is not None
        for field in trigger.histogram.definition.variables
    ]


def _change(trigger: Trigger, definition: HistDefinition) -> bool:
    """Pause, continue or clear a histogram; whether that was asked for."""
    attributes = definition.attributes
    assert trigger.histogram is not None
    if attributes.pause:
        trigger.pause(True)
    elif attributes.cont:
        trigger.pause(False)
    elif attributes.clear:
        trigger.histogram.clear()
    return attributes.pause or attributes.cont or attributes.clear
