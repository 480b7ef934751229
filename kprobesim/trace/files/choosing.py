"""``set_event`` and ``available_events``: events by words of a text.

ftrace_event_write() and ftrace_set_clr_event() of kernel/trace/trace_events.c (6.12).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from kprobesim.trace.event import TraceEvent
from kprobesim.trace.files.events import Switches
from kprobesim.trace.files.node import Setting
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.trace_array import TraceArray

__all__ = ["SetEvent", "available_events"]

_MOST = 127  # bytes of a word: EVENT_BUF_SIZE


def available_events(tracing: TraceArray) -> str:
    """One event a line, the newest first."""
    return "".join(map(_line, _newest_first(tracing)))


class SetEvent(Setting):
    """``set_event``: the enabled events; each word written enables some, or disables with ``!``.

    Opened as ``>`` does all are disabled first.
    """

    def __init__(self, tracing: TraceArray, switches: Switches) -> None:
        super().__init__(self._enabled, self._choose)
        self._tracing = tracing
        self._switches = switches

    def truncate(self) -> None:
        """See :meth:`File.truncate`."""
        self._switches.set(self._tracing.events.values(), False)

    def _enabled(self) -> str:
        return "".join(_line(event) for event in _newest_first(self._tracing) if event.enabled)

    def _choose(self, text: str) -> None:
        for word in text.split():
            if len(word.encode("utf-8", "surrogateescape")) > _MOST:
                raise refusal(errno.EINVAL, f"{word!r} is too long for an event")
            named = word.removeprefix("!")
            events = list(self._named(named))
            if not events:
                raise refusal(errno.EINVAL, f"there is no event {named}")
            self._switches.set(events, not word.startswith("!"))

    def _named(self, word: str) -> Iterator[TraceEvent]:
        """The events that a word means."""
        group, colon, name = word.partition(":")
        for event in self._tracing.events.values():
            if not colon:
                if word in (event.name, event.group):
                    yield event
            elif group in ("", "*", event.group) and name in ("", "*", event.name):
                yield event


def _newest_first(tracing: TraceArray) -> list[TraceEvent]:
    return list(tracing.events.values())[::-1]


def _line(event: TraceEvent) -> str:
    return f"{event.group}:{event.name}\n"
