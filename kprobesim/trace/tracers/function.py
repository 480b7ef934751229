"""The tracer ``function``: an entry for each call (kernel/trace/trace_functions.c, 6.12)."""

from __future__ import annotations

from kprobesim.programs.appending import Append
from kprobesim.programs.program import Program
from kprobesim.programs.stores.entry_layout import EntryLayout
from kprobesim.programs.stores.stream import Stream
from kprobesim.programs.values import Value
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.shown import Shown
from kprobesim.trace.tracers.recording import (
    CALL,
    CallRecord,
    RecordedCall,
    TracerOutlets,
)

__all__ = ["FunctionCalls"]

_BYTES = 24  # struct ftrace_entry


class FunctionCalls:
    """Records calls, and shows them.

    Args:
        stream: Where they are recorded.
        known: Gets what is known of the records by their number.
        shown: How entries are shown.
    """

    def __init__(self, stream: Stream, known: dict[int, CallRecord], shown: Shown) -> None:
        self._outlets = TracerOutlets(stream, known, self._record)
        self._shown = shown

    def program(self, when: Value | None) -> Program:
        """What is done at each call that meets a condition."""
        return Program((Append(CALL, self._outlets, when=when),))

    def _record(self, layout: EntryLayout) -> CallRecord:
        return CallRecord(layout, _BYTES, self._entry)

    def _entry(self, one: RecordedCall) -> TraceEntry:
        ip, parent = one.values
        return TraceEntry.of(
            {
                **one.common(self._shown),
                "event": "ftrace/function",
                "ip": ip,
                "fields": {"ip": ip, "parent_ip": parent},
                "show": self._show,
            }
        )

    def _show(self, entry: TraceEntry) -> str:
        shown = self._shown
        text = shown.before(entry) + shown.plain_name(entry.ip)
        parent = entry.fields["parent_ip"]
        if parent and "print-parent" in shown.options:
            text += f" <-{shown.plain_name(parent)}"
        return text
