"""The tracer ``function_graph``: an entry for each call, and one for its return.

kernel/trace/trace_functions_graph.c, 5.10 to 7.3.
"""

from __future__ import annotations

from typing import Any

from kprobesim.arch.abi import Abi
from kprobesim.programs.appending import Append
from kprobesim.programs.context import ids_of
from kprobesim.programs.leaves import Fact, Register
from kprobesim.programs.program import Program
from kprobesim.programs.stores.entry_layout import EntryLayout
from kprobesim.programs.stores.stream import Stream, Written
from kprobesim.programs.values import Value
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.shown import Shown
from kprobesim.trace.tracers.open_calls import OpenCalls
from kprobesim.trace.tracers.recording import CallRecord, RecordedCall, TracerOutlets

__all__ = ["ENTRY", "EXIT", "GraphCalls"]

ENTRY, EXIT = "ftrace/funcgraph_entry", "ftrace/funcgraph_exit"
_ENTRY_BYTES, _EXIT_BYTES = 24, 40  # struct ftrace_graph_ent_entry, ftrace_graph_ret_entry
_MOST_CALLS = 1 << 13  # that go on at a time


class GraphCalls:
    """Records calls and returns.

    Args:
        stream: Where they are recorded.
        known: Gets what is known of the records by their number.
        shown: How entries are shown.
        abi: Says which register is the stack pointer.

    Attributes:
        going_on: The calls that go on, and which are recorded.
    """

    def __init__(
        self, stream: Stream, known: dict[int, CallRecord], shown: Shown, abi: Abi
    ) -> None:
        self.going_on = OpenCalls()
        self._shown, self._abi = shown, abi
        self._entries = TracerOutlets(stream, known, self._entry_record)
        self._exits = TracerOutlets(stream, known, self._exit_record)

    def entries(self, when: Value | None) -> Program:
        """What is done at each call that meets a condition."""
        sp = Register(self._abi.stack_pointer)
        values = (Fact("here"), sp + self._abi.return_bytes)
        return Program((Append(values, self._entries, when=when),))

    def exits(self, when: Value | None) -> Program:
        """What is done at each return."""
        values = (Fact("here"), Register(self._abi.stack_pointer), Fact("duration"))
        record = Append(values, self._exits, when=when)
        return Program((record,), returns=True, maxactive=_MOST_CALLS, shared=True)

    def _entry_record(self, layout: EntryLayout) -> CallRecord:
        return _GraphRecord(layout, _ENTRY_BYTES, self.going_on, self._shown)

    def _exit_record(self, layout: EntryLayout) -> CallRecord:
        return _GraphRecord(layout, _EXIT_BYTES, self.going_on, self._shown)


class _GraphCall(RecordedCall):
    """A call, or the return of one, at some depth."""

    __slots__ = ("depth",)

    depth: int

    def fields(self, values: list[int]) -> tuple[str, dict[str, Any]]:
        """The event, and the fields of its entry."""
        here, _, *duration = values
        time = self.written.time
        fields = {"func": here, "depth": self.depth}
        if not duration:
            return ENTRY, fields
        return EXIT, {**fields, "overrun": 0, "calltime": time - duration[0], "rettime": time}


class _GraphRecord(CallRecord):
    """What is known of calls, or of returns."""

    def __init__(self, layout: EntryLayout, size: int, going_on: OpenCalls, shown: Shown) -> None:
        super().__init__(layout, size, self._entry)
        self._going_on, self._shown = going_on, shown

    def take(self, written: Written) -> tuple[RecordedCall, int, int] | None:
        """See :meth:`CallRecord.take`."""
        one = _GraphCall(self, written)
        here, key, *duration = one.values
        task = ids_of(written.stamp.ids).pid
        calls = self._going_on
        depth = (
            calls.leave(task, here, key, *duration) if duration else calls.enter(task, here, key)
        )
        if depth is None:
            return None
        one.depth = depth
        return one, self.size, written.time

    def _entry(self, one: RecordedCall) -> TraceEntry:
        assert isinstance(one, _GraphCall)
        event, fields = one.fields(one.values)
        return TraceEntry.of(
            {
                **one.common(self._shown),
                "event": event,
                "ip": fields["func"],
                "fields": fields,
                "show": self._show,
            }
        )

    def _show(self, entry: TraceEntry) -> str:
        """Where it is not the tracer that shows it (trace_graph_entry_event of trace_entries.h)."""
        arrow = "-->" if entry.event == ENTRY else "<--"
        fields, shown = entry.fields, self._shown
        name = shown.plain_name(fields["func"])
        return f"{shown.before(entry)}{entry.name}: {arrow} {name} ({fields['depth']})"
