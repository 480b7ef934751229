"""``TracingStore``: a kernel's tracing as plain data, for snapshots; and having it again.

Events are kept as the words that defined them, and go through all rules again: one whose code is
gone is not there any more, which is logged. Calls that a return event follows are followed on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.programs.fault import FAULT
from kprobesim.programs.following import Following
from kprobesim.programs.pending import Call, Pool
from kprobesim.programs.return_probe import ReturnProgramProbe
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.kprobe_events import KprobeEvents
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.tracers.tracers import Tracers
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.triggers.commands import Triggers
from kprobesim.trace.triggers.saved import restore_triggers, save_triggers

__all__ = ["TracingStore"]

_log = logging.getLogger(__name__)
_FAULT = {"fault": 1}  # in the place of a value that could not be read
_PLAIN = ("time", "cpu", "pid", "tgid", "comm", "flags", "preempt_count", "event", "ip", "func")


@dataclass(frozen=True, eq=False)
class TracingStore:
    """What of one kernel is stored.

    Attributes:
        tracing: Its tracing.
        events: Takes definitions.
        triggers: The triggers of its events.
        tracers: Its tracers.
        following: The calls that return events follow.
        set_filter: Lets an event have a filter, by its text.
    """

    tracing: Tracing
    events: KprobeEvents
    triggers: Triggers
    tracers: Tracers
    following: Following
    set_filter: Callable[[TraceEvent, str], object]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been traced, nor is to be."""
        tracing = self.tracing
        return not (tracing.events or len(tracing.buffer) or self.tracers.is_used)

    def save(self) -> dict[str, Any]:
        """All of it; entries with the text that they have now."""
        tracing = self.tracing
        buffer, pids = tracing.buffer, tracing.pids
        entries = [*buffer]
        return {
            "synthetic": self.triggers.synthetic.read(),
            "events": [self._event(event) for event in tracing.events.values()],
            "on": tracing.on,
            "cpus": tracing.cpus,
            "on_notrace": tracing.on_notrace,
            "options": sorted(tracing.options),
            "pids": [_sorted(pids.only), _sorted(pids.never)],
            "buffer": {
                "kb": buffer.kb,
                "overwrite": buffer.overwrite,
                "cpus": [[each.kb, each.written] for each in buffer.cpus],
                "entries": [_to_data(tracing, entry) for entry in entries],
            },
            "names": tracing.saved_cmdlines(),
            "most_names": tracing.saved.most,
            "tracers": self.tracers.save(),
        }

    def _event(self, event: TraceEvent) -> dict[str, Any]:
        return {
            "words": [list(probe.definition.words) for probe in event.probes],
            "counts": [[probe.hits, probe.misses] for probe in event.probes],
            "calls": [_calls(probe) for probe in event.probes],
            "enabled": event.enabled,
            "soft_disabled": event.soft_disabled,
            "filter": event.filter,
            "filters": event.predicate is not None,
            "triggers": save_triggers(self.triggers, event),
            "name": event.full_name,
        }

    def restore(self, state: Any) -> None:
        """Be what :meth:`save` gave; there are no events yet.

        Raises:
            UsageError: It is damaged.
        """
        tracing = self.tracing
        try:
            state = _completed(state)
            tracing.on_notrace = bool(state["on_notrace"])
            pids = tracing.pids
            pids.only, pids.never = map(_set, state["pids"])
            self.triggers.synthetic.write(str(state["synthetic"]))
            for saved in state["events"]:
                self._restore_event(saved)
            for saved in state["events"]:
                event = tracing.events.get(str(saved["name"]))
                if event is not None:
                    restore_triggers(self.triggers, event, saved["triggers"])
            for saved in state["events"]:
                event = tracing.events.get(str(saved["name"]))
                if event is not None and event.soft_disabled is not bool(saved["soft_disabled"]):
                    event.soft_disabled = bool(saved["soft_disabled"])
            self._follow(state["events"])
            tracing.options.clear()
            tracing.options.update(str(name) for name in state["options"])
            if state["tracers"] is not None:
                self.tracers.restore(state["tracers"])
            tracing.cpus = int(state["cpus"])
            tracing.on = bool(state["on"])
            _restore_buffer(tracing, state["buffer"])
            tracing.saved.most = int(state["most_names"] or tracing.saved.most)
            tracing.know_names(str(state["names"]))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"the stored trace events are damaged ({error!r})") from error

    def _restore_event(self, saved: dict[str, Any]) -> None:
        events = self.tracing.events
        for words, (hits, misses) in zip(saved["words"], saved["counts"], strict=True):
            line = " ".join(map(str, words))
            try:
                self.events.command(line)
            except OSError as error:
                _log.warning("the event of %r is not there any more: %s", line, error)
                continue
            events[str(saved["name"])].probes[-1].remember(int(hits), int(misses))
        event = events.get(str(saved["name"]))
        if event is not None:
            if saved["filters"]:
                self.set_filter(event, str(saved["filter"]))
            else:  # the text may say what was wrong with one
                event.restrict(None, str(saved["filter"]))
            event.enabled = bool(saved["enabled"])

    def _follow(self, events: list[dict[str, Any]]) -> None:
        """Follow the calls on whose returns are still to be recorded, among those of programs."""
        followed: list[tuple[Pool, Call]] = self.following.save()
        for saved in events:
            event = self.tracing.events.get(str(saved["name"]))
            if event is None or len(event.probes) != len(saved["calls"]):
                continue
            for probe, calls in zip(event.probes, saved["calls"], strict=True):
                p = _return_probe(probe)
                if p is not None and p.is_stored:
                    followed += p.again(Call._make((*call[:-1], tuple(call[-1]))) for call in calls)
        self.following.restore(followed)


def _completed(state: dict[str, Any]) -> dict[str, Any]:
    """What was saved, with what was not saved yet when snapshots began to have events."""
    since = {"synthetic": "", "cpus": 1, "pids": [None, None], "most_names": 0, "tracers": None}
    of_events = {"calls": [], "soft_disabled": False, "triggers": []}
    return {**since, **state, "events": [{**of_events, **event} for event in state["events"]]}


def _return_probe(probe: TraceProbe) -> ReturnProgramProbe | None:
    """What follows the calls of an event's probe."""
    found = () if probe.planted is None else probe.planted.probes
    return next((p for p in found if isinstance(p, ReturnProgramProbe)), None)


def _calls(probe: TraceProbe) -> list[list[Any]]:
    """The calls that it follows."""
    p = _return_probe(probe)
    return [] if p is None else [[*call[:-1], list(call.saved)] for call in p.calls]


def _sorted(pids: frozenset[int] | None) -> list[int] | None:
    return None if pids is None else sorted(pids)


def _set(pids: list[int] | None) -> frozenset[int] | None:
    return None if pids is None else frozenset(map(int, pids))


def _to_data(tracing: Tracing, entry: TraceEntry) -> dict[str, Any]:
    data = {name: getattr(entry, name) for name in _PLAIN}
    data["fields"] = {name: _value_to_data(value) for name, value in entry.fields.items()}
    data["stack"] = None if entry.stack is None else list(entry.stack)
    data["text"] = str(entry)[len(tracing.shown.before(entry)) :]
    return data


def _value_to_data(value: Any) -> Any:
    if value is FAULT:
        return _FAULT
    return [*map(_value_to_data, value)] if isinstance(value, tuple) else value


def _restore_buffer(tracing: Tracing, saved: dict[str, Any]) -> None:
    buffer = tracing.buffer
    buffer.kb = None if saved["kb"] is None else int(saved["kb"])
    cpus = saved["cpus"] if "cpus" in saved else [[saved["kb"], saved["written"]]]
    for each, (kb, _) in zip(buffer.cpus, cpus, strict=False):
        each.kb = None if kb is None else int(kb)
    buffer.overwrite = bool(saved["overwrite"])
    for data in saved["entries"]:
        buffer.append(_from_data(tracing, data))
    for each, (_, written) in zip(buffer.cpus, cpus, strict=False):
        each.written = int(written)


def _from_data(tracing: Tracing, data: dict[str, Any]) -> TraceEntry:
    text = str(data["text"])
    stack = data["stack"]
    return TraceEntry(
        **{name: data[name] for name in _PLAIN},
        fields={str(name): _value(value) for name, value in data["fields"].items()},
        stack=None if stack is None else tuple(map(int, stack)),
        show=lambda entry: tracing.shown.before(entry) + text,
    )


def _value(data: Any) -> Any:
    if data == _FAULT:
        return FAULT
    return tuple(map(_value, data)) if isinstance(data, list) else data
