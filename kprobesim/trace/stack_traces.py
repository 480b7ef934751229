"""Stack traces as entries of their own, as the trigger ``stacktrace`` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.programs.appending import NotedOutlets
from kprobesim.programs.context import ids_of
from kprobesim.programs.leaves import Fact
from kprobesim.programs.stores.entry_layout import Stamp
from kprobesim.programs.stores.stacks import Stacks
from kprobesim.programs.stores.stream import Stream
from kprobesim.programs.values import Value
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.shown import Shown

__all__ = ["STACK_BYTES", "StackOutlets", "StackTraces", "stack_values"]

STACK_BYTES = 80
"""What one takes in the kernel's buffer, with eight callers."""


class Surroundings(Protocol):
    """What a stack trace is told of the trace that it is in."""

    @property
    def shown(self) -> Shown:
        """How entries are shown."""

    def context_at(self, p: Kprobe, word: int) -> tuple[int, int]:
        """``common_flags`` and ``common_preempt_count`` of a hit."""


def stack_values(fields: ProbeFields) -> tuple[Value, ...]:
    """What is recorded of each: where, and the callers."""
    return Fact("here"), fields.stack


class StackOutlets(NotedOutlets):
    """Ways for programs to write stack traces of one event into a stream.

    Args:
        stream: It.
        event: The event.
        known: Gets the event by the number of each way.
    """

    def __init__(self, stream: Stream, event: TraceEvent, known: dict[int, TraceEvent]) -> None:
        super().__init__(stream, lambda outlet: known.update({outlet.number: event}))


class StackTraces:
    """All stack traces of one trace.

    Args:
        stream: What the trace is recorded in.
        numbers: What the numbers of stacks stand for.
        trace: The trace.

    Attributes:
        numbers: As given.
    """

    def __init__(self, stream: Stream, numbers: Stacks, trace: Surroundings) -> None:
        self._stream, self.numbers, self._trace = stream, numbers, trace
        self._events: dict[int, TraceEvent] = {}

    def of(self, event: TraceEvent) -> StackOutlets:
        """Where the programs of ``event`` write theirs."""
        return StackOutlets(self._stream, event, self._events)

    def __contains__(self, number: int) -> bool:
        """Whether entries of that number are stack traces."""
        return number in self._events

    def entry(self, number: int, time: int, stamp: Stamp, values: Sequence[Any]) -> TraceEntry:
        """The entry of what was recorded (``trace_stack_print()``)."""
        event, trace = self._events[number], self._trace
        shown = trace.shown
        here, stack_number = values
        pid, tgid = ids_of(stamp.ids)
        flags = preempt_count = 0
        planted = event.probes[0].planted if event.probes else None
        if planted is not None:
            flags, preempt_count = trace.context_at(planted.probes[0], stamp.context)
        stack = (here, *self.numbers.get(stack_number, ()))

        def show(entry: TraceEntry) -> str:
            lines = "".join(f"\n => {shown.name(at).partition('/')[0]}" for at in stack)
            return f"{shown.before(entry)}<stack trace>{lines}"

        return TraceEntry(
            time=time,
            cpu=stamp.cpu,
            pid=pid,
            tgid=tgid,
            comm=shown.saved_comm(pid),
            flags=flags,
            preempt_count=preempt_count,
            event="ftrace/kernel_stack",
            ip=here,
            func=None,
            fields={},
            stack=stack,
            show=show,
        )
