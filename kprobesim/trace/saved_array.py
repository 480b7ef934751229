"""``ArrayStore``: one buffer of a kernel's tracing as plain data, and what is recorded into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kprobesim.programs.fault import FAULT
from kprobesim.trace.buffer import TraceBuffer
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.trace_array import TraceArray
from kprobesim.trace.triggers.commands import Triggers
from kprobesim.trace.triggers.saved import restore_triggers, save_triggers

__all__ = ["ArrayStore"]

_FAULT = {"fault": 1}  # in the place of a value that could not be read
_PLAIN = ("time", "cpu", "pid", "tgid", "comm", "flags", "preempt_count", "event", "ip", "func")
_EVENTS: dict[str, Any] = {"soft_disabled": False, "triggers": []}
_SINCE: dict[str, Any] = {"cpus": 1, "pids": [None, None], "snapshot": None}


@dataclass(frozen=True, eq=False)
class ArrayStore:
    """The top of tracefs, or an instance, for snapshots.

    Attributes:
        array: It.
        triggers: The triggers of its events.
        set_filter: Lets an event have a filter, by its text.
    """

    array: TraceArray
    triggers: Triggers
    set_filter: Callable[[TraceEvent, str], object]

    def save(self) -> dict[str, Any]:
        """All of it but for events; entries with the text that they have now."""
        array = self.array
        return {
            "on": array.on,
            "cpus": array.cpus,
            "options": sorted(array.options),
            "pids": [_sorted(array.pids.only), _sorted(array.pids.never)],
            "buffer": _save_buffer(array, array.buffer),
            "snapshot": _save_buffer(array, array.snapshot) if len(array.snapshot) else None,
        }

    def save_event(self, event: TraceEvent) -> dict[str, Any]:
        """What one of its events does here."""
        return {
            "enabled": event.enabled,
            "soft_disabled": event.soft_disabled,
            "filter": event.filter,
            "filters": event.predicate is not None,
            "triggers": save_triggers(self.triggers, event),
            "name": event.full_name,
        }

    def restore_pids(self, state: Mapping[str, Any]) -> None:
        """Choose tasks as :meth:`save` says, before there are events."""
        pids = self.array.pids
        pids.only, pids.never = map(_set, (_SINCE | dict(state))["pids"])

    def restore_event(self, saved: Mapping[str, Any]) -> None:
        """Let an event that is there record as :meth:`save_event` says."""
        event = self.array.events.get(str(saved["name"]))
        if event is None:
            return
        if saved["filters"]:
            self.set_filter(event, str(saved["filter"]))
        elif event.filter != str(saved["filter"]):  # the text may say what was wrong with one
            event.restrict(None, str(saved["filter"]))
        if event.enabled is not bool(saved["enabled"]):
            event.enabled = bool(saved["enabled"])

    def restore_triggers(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add what events do at their hits, when all are there."""
        found = [
            (event, _EVENTS | dict(saved))
            for saved in events
            if (event := self.array.events.get(str(saved["name"]))) is not None
        ]
        for event, saved in found:
            restore_triggers(self.triggers, event, saved["triggers"])
        for event, saved in found:
            if event.soft_disabled is not bool(saved["soft_disabled"]):
                event.soft_disabled = bool(saved["soft_disabled"])

    def restore_options(self, state: Mapping[str, Any]) -> None:
        """Have the options that :meth:`save` has found."""
        self.array.options.clear()
        self.array.options.update(str(name) for name in state["options"])

    def restore_entries(self, state: Mapping[str, Any]) -> None:
        """Have the entries that :meth:`save` has found."""
        array, state = self.array, _SINCE | dict(state)
        _restore_buffer(array, array.buffer, state["buffer"])
        if state["snapshot"] is not None:
            _restore_buffer(array, array.snapshot, state["snapshot"])
        array.cpus = int(state["cpus"])
        array.on = bool(state["on"])


def _sorted(pids: frozenset[int] | None) -> list[int] | None:
    return None if pids is None else sorted(pids)


def _set(pids: list[int] | None) -> frozenset[int] | None:
    return None if pids is None else frozenset(map(int, pids))


def _save_buffer(array: TraceArray, buffer: TraceBuffer) -> dict[str, Any]:
    buffer.pull()
    return {
        "kb": buffer.kb,
        "overwrite": buffer.overwrite,
        "cpus": [[each.kb, each.written] for each in buffer.cpus],
        "entries": [_to_data(array, entry) for entry in buffer],
    }


def _to_data(array: TraceArray, entry: TraceEntry) -> dict[str, Any]:
    data = {name: getattr(entry, name) for name in _PLAIN}
    data["fields"] = {name: _value_to_data(value) for name, value in entry.fields.items()}
    data["stack"] = None if entry.stack is None else list(entry.stack)
    data["text"] = str(entry)[len(array.shown.before(entry)) :]
    return data


def _value_to_data(value: Any) -> Any:
    if value is FAULT:
        return _FAULT
    return [*map(_value_to_data, value)] if isinstance(value, tuple) else value


def _restore_buffer(array: TraceArray, buffer: TraceBuffer, saved: dict[str, Any]) -> None:
    buffer.kb = None if saved["kb"] is None else int(saved["kb"])
    cpus = saved["cpus"] if "cpus" in saved else [[saved["kb"], saved["written"]]]
    for each, (kb, _) in zip(buffer.cpus, cpus, strict=False):
        each.kb = None if kb is None else int(kb)
    buffer.overwrite = bool(saved["overwrite"])
    for data in saved["entries"]:
        buffer.append(_from_data(array, data))
    for each, (_, written) in zip(buffer.cpus, cpus, strict=False):
        each.written = int(written)


def _from_data(array: TraceArray, data: dict[str, Any]) -> TraceEntry:
    text = str(data["text"])
    stack = data["stack"]
    return TraceEntry(
        **{name: data[name] for name in _PLAIN},
        fields={str(name): _value(value) for name, value in data["fields"].items()},
        stack=None if stack is None else tuple(map(int, stack)),
        show=lambda entry: array.shown.before(entry) + text,
    )


def _value(data: Any) -> Any:
    if data == _FAULT:
        return FAULT
    return tuple(map(_value, data)) if isinstance(data, list) else data
