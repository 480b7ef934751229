"""What tracers record: programs' entries in the stream of events, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kprobesim.programs.appending import NotedOutlets
from kprobesim.programs.choices import or_else
from kprobesim.programs.context import ids_of
from kprobesim.programs.leaves import Fact
from kprobesim.programs.stores.entry_layout import EntryLayout
from kprobesim.programs.stores.stream import Stream, Written
from kprobesim.programs.values import Value
from kprobesim.trace.entry import TraceEntry

__all__ = ["CALL", "CallRecord", "Makes", "RecordedCall", "Showing", "TracerOutlets"]

Makes = Callable[["RecordedCall"], TraceEntry]
"""Makes the entry of what was recorded of a call."""

CALL: tuple[Value, ...] = (
    Fact("here"),
    or_else(Fact("caller"), 0),
)
"""What is recorded of each call: of what function, and from where."""


class Showing(Protocol):
    """What records are told of the trace that they are in."""

    def context_of_call(self, word: int) -> tuple[int, int]:
        """``common_flags`` and ``common_preempt_count`` of a traced call, by its "context"."""

    def saved_comm(self, pid: int) -> str:
        """The name of a task."""


class RecordedCall:
    """One record, of which an entry is made when somebody looks.

    Attributes:
        written: As it was written.
    """

    __slots__ = ("_record", "written")

    def __init__(self, record: CallRecord, written: Written) -> None:
        self._record, self.written = record, written

    @property
    def values(self) -> list[int]:
        """What was recorded."""
        return self._record.layout.unpack(self.written.data, self.written.at)

    def entry(self) -> TraceEntry:
        """The entry."""
        return self._record.makes(self)

    def common(self, shown: Showing) -> dict[str, Any]:
        """What all entries have."""
        stamp = self.written.stamp
        pid, tgid = ids_of(stamp.ids)
        flags, preempt_count = shown.context_of_call(stamp.context)
        return {
            "time": self.written.time,
            "cpu": stamp.cpu,
            "pid": pid,
            "tgid": tgid,
            "comm": shown.saved_comm(pid),
            "flags": flags,
            "preempt_count": preempt_count,
            "func": None,
            "stack": None,
        }


class CallRecord:
    """What is known of all records of one number.

    Attributes:
        layout: How they lie.
        size: Bytes of one in the kernel.
        makes: Makes an entry of one.
    """

    def __init__(self, layout: EntryLayout, size: int, makes: Makes) -> None:
        self.layout, self.size, self.makes = layout, size, makes

    def take(self, written: Written) -> tuple[RecordedCall, int, int] | None:
        """A record, with its size and its time; ``None``: nobody wants it."""
        return RecordedCall(self, written), self.size, written.time


class TracerOutlets(NotedOutlets):
    """A way for a tracer's program into a stream.

    Args:
        stream: It.
        known: Gets what is known of the records by their number.
        record: Makes that, of how they lie.
    """

    def __init__(
        self,
        stream: Stream,
        known: dict[int, CallRecord],
        record: Callable[[EntryLayout], CallRecord],
    ) -> None:
        super().__init__(
            stream, lambda outlet: known.update({outlet.number: record(outlet.layout)})
        )
