"""The files ``trigger`` and ``hist`` of events (kernel/trace/trace_events_trigger.c)."""

from __future__ import annotations

from kprobesim.trace.event import TraceEvent
from kprobesim.trace.files.node import File, ReadOnly, Setting
from kprobesim.trace.hist.text import HistText
from kprobesim.trace.triggers.commands import Triggers

__all__ = ["TriggerFiles"]


class _TriggerFile(Setting):
    """``trigger``."""

    def __init__(self, triggers: Triggers, event: TraceEvent) -> None:
        super().__init__(
            lambda: triggers.of(event).text(triggers.commands),
            lambda text: triggers.write(event, text),
        )
        self._triggers, self._event = triggers, event

    def truncate(self) -> None:
        """See :meth:`File.truncate`."""
        self._triggers.truncate(self._event)


class TriggerFiles:
    """Makes them.

    Args:
        triggers: The kernel's triggers.
        text: Shows histograms.
    """

    def __init__(self, triggers: Triggers, text: HistText) -> None:
        self._triggers = triggers
        self._text = text

    def of_event(self, event: TraceEvent) -> dict[str, File]:
        """Those of one event."""
        files: dict[str, File] = {"trigger": _TriggerFile(self._triggers, event)}
        if "hist" in self._triggers.commands:
            files["hist"] = ReadOnly(lambda: self._triggers.of(event).hist(self._text))
        return files
