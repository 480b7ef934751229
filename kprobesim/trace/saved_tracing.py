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
from kprobesim.programs.following import Following
from kprobesim.programs.pending import Call, Pool
from kprobesim.programs.return_probe import ReturnProgramProbe
from kprobesim.trace.dynamic_events import DynamicEvents
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.instance import Instance
from kprobesim.trace.kprobe_events import KprobeEvents
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.saved_array import ArrayStore
from kprobesim.trace.synthetic.events import SyntheticEvents
from kprobesim.trace.trace_array import TraceArray
from kprobesim.trace.tracers.tracers import Tracers
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.triggers.by_array import TriggersByArray

__all__ = ["TracingStore"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TracingStore:
    """What of one kernel is stored.

    Attributes:
        tracing: Its tracing.
        events: Takes definitions.
        dynamic: Both kinds of dynamic events, in their order.
        triggers: The triggers of the events at the top, or of an instance's.
        tracers: Its tracers.
        following: The calls that return events follow.
        set_filter: Lets an event have a filter, by its text.
    """

    tracing: Tracing
    events: KprobeEvents
    dynamic: DynamicEvents
    triggers: TriggersByArray
    tracers: Tracers
    following: Following
    set_filter: Callable[[TraceEvent, str], object]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been traced, nor is to be."""
        tracing = self.tracing
        return not (
            tracing.events or tracing.instances or len(tracing.buffer) or self.tracers.is_used
        )

    def save(self) -> dict[str, Any]:
        """All of it."""
        tracing, top = self.tracing, self._of(self.tracing)
        return {
            **top.save(),
            "synthetic": self._synthetic.read(),
            "events": [
                {**_definition(event), **top.save_event(event)} for event in tracing.events.values()
            ],
            "order": self.dynamic.order(),
            "on_notrace": tracing.on_notrace,
            "names": tracing.saved_cmdlines(),
            "most_names": tracing.saved.most,
            "tracers": self.tracers.save(),
            "instances": {
                name: self._save_instance(instance) for name, instance in tracing.instances.items()
            },
        }

    def _of(self, array: TraceArray) -> ArrayStore:
        return ArrayStore(array, self.triggers.of(array), self.set_filter)

    @property
    def _synthetic(self) -> SyntheticEvents:
        return self.triggers.top.synthetic

    def _save_instance(self, instance: Instance) -> dict[str, Any]:
        store = self._of(instance)
        events = [store.save_event(event) for event in instance.events.values()]
        return {**store.save(), "events": events}

    def restore(self, state: Any) -> None:
        """Be what :meth:`save` gave; there are no events yet.

        Raises:
            UsageError: It is damaged.
        """
        tracing, top = self.tracing, self._of(self.tracing)
        try:
            state = _completed(state)
            tracing.on_notrace = bool(state["on_notrace"])
            top.restore_pids(state)
            self._synthetic.write(str(state["synthetic"]))
            for saved in state["events"]:
                self._define(saved)
                top.restore_event(saved)
            if state["order"] is not None:
                self.dynamic.reorder(state["order"])
            top.restore_triggers(state["events"])
            for name, saved in state["instances"].items():
                self._restore_instance(str(name), saved)
            self._follow(state["events"])
            top.restore_options(state)
            if state["tracers"] is not None:
                self.tracers.restore(state["tracers"])
            top.restore_entries(state)
            tracing.saved.most = int(state["most_names"] or tracing.saved.most)
            tracing.know_names(str(state["names"]))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"the stored trace events are damaged ({error!r})") from error

    def _restore_instance(self, name: str, saved: dict[str, Any]) -> None:
        store = self._of(self.tracing.make_instance(name))
        store.restore_pids(saved)
        for event in saved["events"]:
            store.restore_event(event)
        store.restore_triggers(saved["events"])
        store.restore_options(saved)
        store.restore_entries(saved)

    def _define(self, saved: dict[str, Any]) -> None:
        """Define the probes of an event again."""
        for words, (hits, misses) in zip(saved["words"], saved["counts"], strict=True):
            line = " ".join(map(str, words))
            try:
                self.events.command(line)
            except OSError as error:
                _log.warning("the event of %r is not there any more: %s", line, error)
                continue
            event = self.tracing.events[str(saved["name"])]
            event.probes[-1].remember(int(hits), int(misses))

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
    since = {"synthetic": "", "most_names": 0, "tracers": None, "order": None, "instances": {}}
    return {**since, **state, "events": [{"calls": [], **event} for event in state["events"]]}


def _definition(event: TraceEvent) -> dict[str, Any]:
    """How its probes were defined, and what they have counted and follow."""
    return {
        "words": [list(probe.definition.words) for probe in event.probes],
        "counts": [[probe.hits, probe.misses] for probe in event.probes],
        "calls": [_calls(probe) for probe in event.probes],
    }


def _return_probe(probe: TraceProbe) -> ReturnProgramProbe | None:
    """What follows the calls of an event's probe."""
    found = () if probe.planted is None else probe.planted.probes
    return next((p for p in found if isinstance(p, ReturnProgramProbe)), None)


def _calls(probe: TraceProbe) -> list[list[Any]]:
    """The calls that it follows."""
    p = _return_probe(probe)
    return [] if p is None else [[*call[:-1], list(call.saved)] for call in p.calls]
