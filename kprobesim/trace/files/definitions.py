"""``kprobe_events`` and ``dynamic_events``: the lists of events, changed by writing commands.

kernel/trace/trace_dynevent.c and trace_kprobe.c (6.12). ``dynamic_events`` takes ``!`` before a
definition, too, to delete what it has defined, and lists synthetic events, too.
"""

from __future__ import annotations

from kprobesim.trace.dynamic_events import DynamicEvents
from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.files.node import ReadOnly, Setting
from kprobesim.trace.kprobe_events import KprobeEvents
from kprobesim.trace.probe import TraceProbe

__all__ = ["DefinitionsFile", "ErrorLogFile", "profile"]


def profile(events: KprobeEvents) -> str:
    """The text of ``kprobe_profile``: hits and misses, one line a probe in order of definition."""
    return "".join(
        f"  {event.name:<44} {planted.hits:15} {planted.misses:15}\n"
        for event, probe in events.probes()
        if isinstance(planted := probe.planted, TraceProbe)
    )


class DefinitionsFile(Setting):
    """One of the two."""

    def __init__(self, events: KprobeEvents | DynamicEvents) -> None:
        super().__init__(events.read, events.write)
        self._events = events

    def truncate(self) -> None:
        """See :meth:`File.truncate`: all events go, or none if one is enabled (EBUSY)."""
        self._events.truncate()


class ErrorLogFile(ReadOnly):
    """``error_log``: the last refusals; opened as ``>`` does, it is empty."""

    mode = 0o640

    def __init__(self, log: ErrorLog) -> None:
        super().__init__(log.read)
        self._log = log

    def truncate(self) -> None:
        """See :meth:`File.truncate`."""
        self._log.clear()

    def store(self, data: bytes) -> int:
        """Nothing happens, as in the kernel."""
        return len(data)
