"""``synthetic_events`` (kernel/trace/trace_events_synth.c)."""

from __future__ import annotations

from kprobesim.trace.files.node import Setting
from kprobesim.trace.synthetic.events import SyntheticEvents

__all__ = ["SyntheticFile"]


class SyntheticFile(Setting):
    """The file: each line that is written defines an event, or deletes one behind a ``!``."""

    def __init__(self, events: SyntheticEvents) -> None:
        super().__init__(events.read, events.write)
        self._events = events

    def truncate(self) -> None:
        """See :meth:`File.truncate`: all events go, or none if one is in use (EBUSY)."""
        self._events.truncate()
