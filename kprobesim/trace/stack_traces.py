"""Stack traces as entries of their own, as the trigger ``stacktrace`` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kprobesim.programs.appending import Outlets
from kprobesim.programs.leaves import Fact
from kprobesim.programs.stores.stream import Outlet, Stream
from kprobesim.programs.values import Value
from kprobesim.trace.field_values import ProbeFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kprobesim.trace.event import TraceEvent

__all__ = ["STACK_BYTES", "StackOutlets", "stack_values"]

STACK_BYTES = 80
"""What one takes in the kernel's buffer, with eight callers."""


def stack_values(fields: ProbeFields) -> tuple[Value, ...]:
    """What is recorded of each: when, whose it is, in which context, where, and the callers."""
    return Fact("now"), Fact("ids"), Fact("context"), Fact("here"), fields.stack


class StackOutlets(Outlets):
    """Ways for programs to write stack traces of one event into a stream.

    Args:
        stream: It.
        event: The event.
        known: Gets the event by the number of each way.
    """

    def __init__(self, stream: Stream, event: TraceEvent, known: dict[int, TraceEvent]) -> None:
        self._stream, self._event, self._known = stream, event, known

    def outlet(self, values: Sequence[Value]) -> Outlet:
        """See :meth:`Stream.outlet`."""
        outlet = self._stream.outlet(values)
        self._known[outlet.number] = self._event
        return outlet
