"""``HistCommands``: hist triggers that are written, changed and removed.

kernel/trace/trace_events_hist.c: ``event_hist_trigger_parse()``, ``hist_register_trigger()``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.filters.event_filter import fields_of
from kprobesim.trace.filters.nodes import Node
from kprobesim.trace.hist.acting import Acting
from kprobesim.trace.hist.actions import parse_action
from kprobesim.trace.hist.attributes import parse_attributes, split_filter
from kprobesim.trace.hist.bound_actions import BoundAction
from kprobesim.trace.hist.definition import HistDefinition, define_hist
from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.histogram import Histogram, HistStream
from kprobesim.trace.synthetic.event import SyntheticEvent
from kprobesim.trace.trace_array import TraceArray
from kprobesim.trace.triggers.event_triggers import EventTriggers
from kprobesim.trace.triggers.gate import Gate
from kprobesim.trace.triggers.others_fields import OthersFields
from kprobesim.trace.triggers.trigger import Trigger, TriggerType
from kprobesim.trace.triggers.variable_scope import VariableScope

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
        triggers_of: The triggers of the event of that group and name; ``None``: no such event.
        all_triggers: The triggers of each event that has some.
        synthetic: Finds a synthetic event by its name.
    """

    def __init__(
        self,
        tracing: TraceArray,
        version: tuple[int, ...],
        log: ErrorLog,
        understand: Understand,
        triggers_of: Callable[[str, str], EventTriggers | None],
        all_triggers: Callable[[], list[EventTriggers]],
        synthetic: Callable[[str], SyntheticEvent | None],
    ) -> None:
        self._triggers_of = triggers_of
        self._all_triggers = all_triggers
        self._synthetic = synthetic
        self._tracing = tracing
        self._version = version
        self._log = log
        self._understand = understand
        self._named: dict[str, _Named] = {}
        self._wanted: dict[Trigger, OthersFields] = {}

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
            self._write(triggers, about, removes)
        except HistError as error:
            self._say(error.logged, triggers, about)
            raise

    def _say(self, logged: Sequence[LogEntry], triggers: EventTriggers, about: str) -> None:
        event = triggers.event
        for entry in logged:
            self._log.write(entry.text(f"{event.group}:{event.name}", about))

    def _write(self, triggers: EventTriggers, about: str, removes: bool) -> None:
        if not about:
            raise HistError(errno.EINVAL)
        text, condition = split_filter(about)
        attributes = parse_attributes(text.replace(".sym-offset", ".symXoffset"), self._version)
        actions = [parse_action(action, self._has_event) for action in attributes.actions]
        scope = VariableScope(self._all_triggers, actions)
        wanted = OthersFields(self._triggers_of, scope.find, self._write)
        event, added = triggers.event, None
        try:
            definition = define_hist(
                attributes,
                fields_of(event, self._version),
                self._version,
                () if removes else _variables(triggers),
                event=(event.group, event.name),
                find=scope.find,
                actions=actions,
                synthetic=self._synthetic,
                others_field=wanted.variable,
                binds=not removes,
            )
            filter_text, node = self._understand(event, condition)
            same = self._same(triggers, definition, filter_text)
            if removes:
                self._remove(triggers, same)
            else:
                added = self._add(triggers, definition, same, filter_text, node)
        finally:
            if added is None:
                wanted.remove()
        if added is not None:
            added.hist = about
            self._say(definition.logged, triggers, about)
            self._wanted[added] = wanted

    def _remove(self, triggers: EventTriggers, same: Trigger | None) -> None:
        if same is None:
            return
        if self.is_referenced([same]):
            raise HistError(errno.EBUSY)
        triggers.remove(same)
        self.forget(same)

    def _add(
        self,
        triggers: EventTriggers,
        definition: HistDefinition,
        same: Trigger | None,
        filter_text: str | None,
        node: Node | None,
    ) -> Trigger | None:
        """The new trigger; ``None``: ``same`` was changed."""
        attributes = definition.attributes
        named = self._named.get(attributes.name) if attributes.name else None
        if attributes.name and named is None:
            same = None
        if same is not None and _change(same, definition):
            return None
        if named is not None and not definition.matches(named.histogram.definition):
            raise HistError(errno.EINVAL, LogEntry("NAMED_MISMATCH", attributes.name))
        if same is not None:
            raise HistError(errno.EEXIST, LogEntry("TRIGGER_EEXIST", ""))
        if attributes.cont or attributes.clear:
            raise HistError(errno.ENOENT, LogEntry("TRIGGER_ENOENT_CLEAR", ""))
        if any(bound.action.snapshots for bound in definition.actions) and self._snapshots():
            raise HistError(errno.EBUSY)
        histogram = named.histogram if named is not None else self._new(definition, triggers.event)
        trigger = Trigger("hist", TriggerType.EVENT_HIST, None, -1, filter_text, node)
        trigger.histogram, trigger.gate = histogram, Gate(histogram.stream)
        if attributes.pause:
            trigger.pause(True)
        triggers.add(trigger)
        _use(definition, 1)
        if attributes.name:
            self._named.setdefault(attributes.name, _Named(histogram)).triggers.append(trigger)
        return trigger

    def _has_event(self, group: str, name: str) -> bool:
        return self._triggers_of(group, name) is not None

    def _new(self, definition: HistDefinition, event: TraceEvent) -> Histogram:
        tracing = self._tracing
        histogram = Histogram(
            definition, tracing.new_stream(HistStream), tracing.stack_traces.numbers
        )
        if definition.actions:

            def record(bound: BoundAction, values: list[Any]) -> None:
                (p,) = event.probes[0].planted.probes  # type: ignore[union-attr]
                assert bound.synthetic is not None
                bound.synthetic.record(values, p)

            histogram.acting = Acting(
                definition.actions, histogram.leaves, record, tracing.take_snapshot
            )
        return histogram

    def _snapshots(self) -> bool:
        """Whether a histogram takes snapshots: only one may (tracing_snapshot_cond_enable())."""
        return any(
            bound.action.snapshots
            for each in self._all_triggers()
            for trigger in each.histograms
            if trigger.histogram is not None
            for bound in trigger.histogram.definition.actions
        )

    def is_referenced(self, triggers: Sequence[Trigger]) -> bool:
        """Whether others name variables of the histograms of these triggers."""
        mine = [trigger.histogram for trigger in triggers]
        return any(
            reference.variable.histogram in mine
            for each in self._all_triggers()
            for trigger in each.histograms
            if trigger.histogram is not None and trigger not in triggers
            for reference in trigger.histogram.definition.references
        )

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
        if trigger.histogram is not None:
            _use(trigger.histogram.definition, -1)
        for name, named in [*self._named.items()]:
            if trigger in named.triggers:
                named.triggers.remove(trigger)
                if not named.triggers:
                    del self._named[name]
        wanted = self._wanted.pop(trigger, None)
        if wanted is not None:
            wanted.remove()


def _use(definition: HistDefinition, count: int) -> None:
    """Its actions use synthetic events, or do so no more."""
    for bound in definition.actions:
        if bound.synthetic is not None:
            bound.synthetic.users += count


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
