"""``SyntheticPlanter``: makes what a synthetic event does a program that Python runs."""

from __future__ import annotations

from kprobesim.trace.event import TraceEvent
from kprobesim.trace.synthetic.event import SyntheticEvent
from kprobesim.trace.tracing import Tracing

__all__ = ["SyntheticPlanter"]


class SyntheticPlanter:
    """The planter of the synthetic events of one kernel.

    Attributes:
        tells_lengths: They have no arrays.
    """

    tells_lengths = False

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def enable(self, event: TraceEvent, enabled: bool) -> None:
        """See :class:`~kprobesim.trace.event.EventPlanter`: nothing is armed for it."""
        self._tracing.enable(event, enabled)

    def record(self, event: TraceEvent, on: bool) -> None:
        """See :class:`~kprobesim.trace.event.EventPlanter`."""
        assert isinstance(event, SyntheticEvent)
        if event.told is not None:
            event.told.outlet.on = on

    def replant(self, event: TraceEvent) -> None:
        """See :class:`~kprobesim.trace.event.EventPlanter`."""
        assert isinstance(event, SyntheticEvent)
        self._tracing.buffer.pull()
        event.told = self._tracing.event_programs.told(event, event.arguments(), event.record_bytes)
        event.told.outlet.on = not event.soft_disabled
