"""``Triggers``: what is written into the files ``trigger`` of a kernel's events.

kernel/trace/trace_events_trigger.c: ``trigger_process_regex()``, ``event_trigger_parse()``,
``event_enable_trigger_parse()``; hist triggers are in :mod:`.hist_commands`.
"""

from __future__ import annotations

import errno
import re
import weakref
from collections.abc import Callable, Mapping, Sequence

from kprobesim.sizes import PAGE
from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.filters.error import FilterError
from kprobesim.trace.filters.event_filter import fields_of
from kprobesim.trace.filters.facts import FilterFacts
from kprobesim.trace.filters.nodes import Node
from kprobesim.trace.filters.numbers import kstrtoul
from kprobesim.trace.filters.parse import parse_filter
from kprobesim.trace.synthetic.events import SyntheticEvents
from kprobesim.trace.trace_array import TraceArray
from kprobesim.trace.triggers.error import TriggerError
from kprobesim.trace.triggers.event_triggers import EventTriggers
from kprobesim.trace.triggers.gate import Gate
from kprobesim.trace.triggers.hist_commands import HistCommands
from kprobesim.trace.triggers.trigger import UNLIMITED, Trigger, TriggerType

__all__ = ["Triggers", "commands_of"]

_SPACE = " \t\n\v\f\r"
_LOGGED_FILTERS = 6, 6  # of triggers: create_event_filter(..., set_str = true)
_CONFIGURED = {
    "snapshot": "CONFIG_TRACER_SNAPSHOT",
    "stacktrace": "CONFIG_STACKTRACE",
    "enable_hist": "CONFIG_HIST_TRIGGERS",
    "disable_hist": "CONFIG_HIST_TRIGGERS",
    "hist": "CONFIG_HIST_TRIGGERS",
}
_TYPES = {
    "traceon": TriggerType.TRACE_ONOFF,
    "traceoff": TriggerType.TRACE_ONOFF,
    "snapshot": TriggerType.SNAPSHOT,
    "stacktrace": TriggerType.STACKTRACE,
    "enable_event": TriggerType.EVENT_ENABLE,
    "disable_event": TriggerType.EVENT_ENABLE,
    "enable_hist": TriggerType.HIST_ENABLE,
    "disable_hist": TriggerType.HIST_ENABLE,
}


def commands_of(config: Mapping[str, str] | None) -> tuple[str, ...]:
    """The commands that a kernel of some configuration has; all where that is not known."""
    known = {} if config is None else config
    absent = "y" if config is None else "n"
    return tuple(
        command
        for command in (*_TYPES, "hist")
        if command not in _CONFIGURED or known.get(_CONFIGURED[command], absent) == "y"
    )


class Triggers:
    """The triggers of all events of one kernel.

    Attributes:
        commands: The commands that it has.
        synthetic: Its synthetic events.

    Args:
        tracing: Its tracing.
        facts: What filters ask of it.
        log: What was refused.
        synthetic: Its synthetic events.
        commands: The commands that it has.
    """

    def __init__(
        self,
        tracing: TraceArray,
        facts: FilterFacts,
        log: ErrorLog,
        synthetic: SyntheticEvents,
        commands: Sequence[str] = (*_TYPES, "hist"),
    ) -> None:
        self.commands = tuple(commands)
        self.synthetic = synthetic
        self._tracing = tracing
        self._facts = facts
        self._log = log
        self._of: weakref.WeakKeyDictionary[TraceEvent, EventTriggers] = weakref.WeakKeyDictionary()
        self._hist = HistCommands(
            tracing,
            facts.version,
            log,
            self.understand,
            self._of_name,
            lambda: [*self._of.values()],
            synthetic.get,
        )

    def of(self, event: TraceEvent) -> EventTriggers:
        """Those of ``event``."""
        return self._of.setdefault(event, EventTriggers(event))

    def _of_name(self, group: str, name: str) -> EventTriggers | None:
        event = self._tracing.events.get(f"{group}/{name}")
        return None if event is None else self.of(event)

    def truncate(self, event: TraceEvent) -> None:
        """The file is opened as ``>`` does: histograms and what switches them are gone."""
        triggers = self.of(event)
        if self._hist.is_referenced(triggers.histograms):
            return
        for kind in (TriggerType.EVENT_HIST, TriggerType.HIST_ENABLE):
            for trigger in [each for each in triggers.triggers if each.type is kind]:
                self._remove(triggers, trigger)

    def write(self, event: TraceEvent, written: str) -> None:
        """Add a trigger, or with ``!`` in front of it remove it.

        Raises:
            OSError: It is refused, with the kernel's errno.
        """
        if not written:
            return
        if len(written.encode("utf-8", "surrogateescape")) >= PAGE:
            raise TriggerError(errno.EINVAL)
        text = written.strip(_SPACE)
        command, *rest = re.split("[: \t]", text, maxsplit=1)
        about = rest[0].lstrip(_SPACE) if rest else ""
        removes, command = command.startswith("!"), command.removeprefix("!")
        triggers = self.of(event)
        if command not in self.commands:
            raise TriggerError(errno.EINVAL)
        if command == "hist":
            self._hist.write(triggers, about, removes=removes)
        elif command in ("traceon", "traceoff", "snapshot", "stacktrace"):
            self._plain(triggers, command, about, removes=removes)
        else:
            self._about_event(triggers, command, about, removes=removes)

    def understand(self, event: TraceEvent, text: str | None) -> tuple[str | None, Node | None]:
        """What a trigger's ``if FILTER`` says: its text, and the filter.

        Raises:
            OSError: It is refused.
        """
        if text is None:
            return None, None
        word, *rest = re.split("[ \t]", text, maxsplit=1)
        if word != "if" or not rest:
            raise TriggerError(errno.EINVAL)
        try:
            fields = fields_of(event, self._facts.version)
            return rest[0], parse_filter(rest[0], fields, self._facts)
        except FilterError as error:
            if self._facts.version >= _LOGGED_FILTERS:
                self._log.write(error.entry)
            raise

    # -- those that are about their own event ------------------------------------------------------

    def _plain(self, triggers: EventTriggers, command: str, about: str, *, removes: bool) -> None:
        count: str | None = None
        condition: str | None = about or None
        if about[:1].isdigit():
            count, condition = _split(about)
        kind = _TYPES[command]
        same = next((each for each in triggers.triggers if each.type is kind), None)
        if removes:
            if same is not None:
                self._remove(triggers, same)
            return
        number = _count(count)
        text, node = self.understand(triggers.event, condition)
        if same is not None:
            raise TriggerError(errno.EEXIST)
        trigger = Trigger(command, kind, None, number, text, node)
        if command == "stacktrace":
            trigger.gate = Gate(self._tracing.stack_traces.of(triggers.event))
        if command != "stacktrace" or number != UNLIMITED:
            trigger.run = self._runs(command, trigger)
        triggers.add(trigger)

    def _runs(self, command: str, trigger: Trigger) -> Callable[[], None]:
        """What it does at a hit."""
        tracing = self._tracing
        if command in ("traceon", "traceoff"):
            on = command == "traceon"

            def switch() -> None:
                if tracing.on is not on and trigger.take():
                    tracing.on = on

            return switch
        if command == "snapshot":

            def snapshot() -> None:
                if trigger.take():
                    tracing.take_snapshot()

            return snapshot

        def open_gate() -> None:
            assert trigger.gate is not None
            trigger.gate.open = trigger.take()

        return open_gate

    # -- those that are about another one ----------------------------------------------------------

    def _about_event(
        self, triggers: EventTriggers, command: str, about: str, *, removes: bool
    ) -> None:
        if not about:
            raise TriggerError(errno.EINVAL)
        what, condition = _split(about)
        group, *rest = what.split(":")
        if not rest:
            raise TriggerError(errno.EINVAL)
        target = self._tracing.events.get(f"{group}/{rest[0]}")
        if target is None:
            raise TriggerError(errno.EINVAL)
        kind = _TYPES[command]
        same = next(
            (each for each in triggers.triggers if each.type is kind and each.target is target),
            None,
        )
        if removes:
            if same is not None:
                self._remove(triggers, same)
            return
        number = _count(rest[1] if len(rest) > 1 else None)
        text, node = self.understand(triggers.event, condition)
        target.arm(soft=True)
        try:
            if same is not None:
                raise TriggerError(errno.EEXIST)
            trigger = Trigger(command, kind, None, number, text, node, target)
            trigger.run = self._switches(trigger, target)
            triggers.add(trigger)
        except BaseException:
            target.disarm(soft=True)
            raise

    def _switches(self, trigger: Trigger, target: TraceEvent) -> Callable[[], None]:
        """What it does at a hit."""
        enables = trigger.command.startswith("enable")
        if trigger.type is TriggerType.HIST_ENABLE:

            def switch_hist() -> None:
                if trigger.take():
                    for each in self.of(target).histograms:
                        each.pause(not enables)

            return switch_hist

        def switch_event() -> None:
            if trigger.count == UNLIMITED or (
                trigger.count and target.soft_disabled is enables and trigger.take()
            ):
                target.soft_disabled = not enables

        return switch_event

    def _remove(self, triggers: EventTriggers, trigger: Trigger) -> None:
        triggers.remove(trigger)
        if trigger.target is not None:
            trigger.target.disarm(soft=True)
        self._hist.forget(trigger)


def _split(about: str) -> tuple[str, str | None]:
    """What a trigger is about, and the filter behind it."""
    first, *rest = re.split("[ \t]", about, maxsplit=1)
    return first, (rest[0].lstrip(_SPACE) or None) if rest else None


def _count(text: str | None) -> int:
    """How often; raises :class:`TriggerError` if that is no number."""
    if text is None:
        return UNLIMITED
    number = text.split(":", 1)[0]
    if not number:
        raise TriggerError(errno.EINVAL)
    try:
        return kstrtoul(number)
    except OSError as error:
        raise TriggerError(error.errno or errno.EINVAL) from None
