"""Triggers as plain data, for snapshots; and adding them again."""

from __future__ import annotations

import logging
from typing import Any

from kprobesim.trace.event import TraceEvent
from kprobesim.trace.hist.actions import Handler
from kprobesim.trace.hist.entry import Entry
from kprobesim.trace.hist.histogram import Histogram
from kprobesim.trace.triggers.commands import Triggers
from kprobesim.trace.triggers.trigger import Trigger

__all__ = ["restore_triggers", "save_triggers"]

_log = logging.getLogger(__name__)


def save_triggers(triggers: Triggers, event: TraceEvent) -> list[dict[str, Any]]:
    """Those of an event, in the order in which they were added."""
    of = triggers.of(event)
    others = [each for each in of.triggers if each.histogram is None]
    return [_save(each) for each in (*reversed(others), *of.histograms)]


def _save(trigger: Trigger) -> dict[str, Any]:
    histogram = trigger.histogram
    return {
        "written": trigger.written,
        "paused": trigger.paused,
        "hist": None if histogram is None else _save_histogram(histogram),
    }


def _save_histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "entries": [
            [
                [list(part) if isinstance(part, tuple) else part for part in entry.key],
                list(entry.sums),
                entry.comm,
                dict(entry.variables),
                {handler.value: value for handler, value in entry.tracked.items()},
                list(entry.saved),
            ]
            for entry in histogram.entries
        ],
        "hits": histogram.hits,
        "drops": histogram.drops,
    }


def restore_triggers(triggers: Triggers, event: TraceEvent, saved: list[dict[str, Any]]) -> None:
    """Add what :func:`save_triggers` gave; one that cannot be is told in the log."""
    for one in saved:
        written = str(one["written"])
        try:
            triggers.write(event, written)
        except OSError as error:
            _log.warning("the trigger %r of %s is gone: %s", written, event.full_name, error)
            continue
        if one["hist"] is not None:
            trigger = triggers.of(event).histograms[-1]
            assert trigger.histogram is not None
            _restore_histogram(trigger.histogram, one["hist"])
            trigger.pause(bool(one["paused"]))


def _restore_histogram(histogram: Histogram, saved: dict[str, Any]) -> None:
    entries = [
        Entry(
            tuple(tuple(part) if isinstance(part, list) else part for part in key),
            [int(number) for number in sums],
            str(comm),
            *_remembered(*remembered),
        )
        for key, sums, comm, *remembered in saved["entries"]
    ]
    histogram.take_over(entries, hits=int(saved["hits"]), drops=int(saved["drops"]))


def _remembered(
    variables: dict[str, Any] | None = None,
    tracked: dict[str, int] | None = None,
    saved: list[Any] | None = None,
) -> tuple[dict[str, Any], dict[Handler, int], list[Any]]:
    """What an entry has beside its sums, which older snapshots do not tell."""
    by_handler = {Handler(name): int(value) for name, value in (tracked or {}).items()}
    return dict(variables or {}), by_handler, list(saved or ())
