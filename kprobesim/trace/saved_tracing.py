"""A kernel's trace events and entries as plain data, for snapshots; and making them again.

Events are kept as the words that defined them, and go through all rules again: one whose code is
gone is not there any more, which is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.programs.fault import FAULT
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.kprobe_events import KprobeEvents
from kprobesim.trace.tracing import Tracing

__all__ = ["restore_tracing", "save_tracing"]

_log = logging.getLogger(__name__)
_FAULT = {"fault": 1}  # in the place of a value that could not be read
_PLAIN = ("time", "cpu", "pid", "tgid", "comm", "flags", "preempt_count", "event", "ip", "func")


def save_tracing(tracing: Tracing) -> dict[str, Any]:
    """All of it; entries with the text that they have now."""
    buffer = tracing.buffer
    entries = [*buffer]
    return {
        "events": [
            {
                "words": [list(probe.definition.words) for probe in event.probes],
                "counts": [[probe.hits, probe.misses] for probe in event.probes],
                "enabled": event.enabled,
                "filter": event.filter,
                "filters": event.predicate is not None,
                "name": event.full_name,
            }
            for event in tracing.events.values()
        ],
        "on": tracing.on,
        "on_notrace": tracing.on_notrace,
        "options": sorted(tracing.options),
        "buffer": {
            "kb": buffer.kb,
            "overwrite": buffer.overwrite,
            "written": buffer.written,
            "entries": [_to_data(tracing, entry) for entry in entries],
        },
        "names": tracing.saved_cmdlines(),
    }


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


def restore_tracing(
    tracing: Tracing,
    events: KprobeEvents,
    set_filter: Callable[[TraceEvent, str], object],
    state: Any,
) -> None:
    """Be what :func:`save_tracing` gave.

    Args:
        tracing: Has no events yet.
        events: Takes the definitions.
        set_filter: Lets an event have a filter, by its text.
        state: What was saved.

    Raises:
        UsageError: It is damaged.
    """
    try:
        tracing.on_notrace = bool(state["on_notrace"])
        for saved in state["events"]:
            _restore_event(tracing, events, set_filter, saved)
        tracing.options.clear()
        tracing.options.update(str(name) for name in state["options"])
        tracing.on = bool(state["on"])
        _restore_buffer(tracing, state["buffer"])
        tracing.know_names(str(state["names"]))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the stored trace events are damaged ({error!r})") from error


def _restore_event(
    tracing: Tracing, events: KprobeEvents, set_filter: Any, saved: dict[str, Any]
) -> None:
    for words, (hits, misses) in zip(saved["words"], saved["counts"], strict=True):
        line = " ".join(map(str, words))
        try:
            events.command(line)
        except OSError as error:
            _log.warning("the event of %r is not there any more: %s", line, error)
            continue
        tracing.events[str(saved["name"])].probes[-1].remember(int(hits), int(misses))
    event = tracing.events.get(str(saved["name"]))
    if event is not None:
        if saved["filters"]:
            set_filter(event, str(saved["filter"]))
        else:  # the text may say what was wrong with one
            event.restrict(None, str(saved["filter"]))
        event.enabled = bool(saved["enabled"])


def _restore_buffer(tracing: Tracing, saved: dict[str, Any]) -> None:
    buffer = tracing.buffer
    buffer.kb = None if saved["kb"] is None else int(saved["kb"])
    buffer.overwrite = bool(saved["overwrite"])
    for data in saved["entries"]:
        buffer.append(_from_data(tracing, data))
    buffer.written = int(saved["written"])


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
