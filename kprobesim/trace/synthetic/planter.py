"""``SyntheticPlanter``: makes what a synthetic event does a program that Python runs."""

from __future__ import annotations

from kprobesim.kprobes.kprobe import Kprobe
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
        if event.outlet is not None:
            event.outlet.on = on

    def replant(self, event: TraceEvent) -> None:
        """See :class:`~kprobesim.trace.event.EventPlanter`."""
        assert isinstance(event, SyntheticEvent)
        run, outlet, know = self._tracing.by_python(
            event, event.definition, event.arguments(), event.record_bytes
        )
        outlet.on = not event.soft_disabled
        known: list[Kprobe] = []

        def emit(p: Kprobe) -> None:
            if known != [p]:
                know(p)
                known[:] = [p]
            run(None, p.addr or 0)

        event.emit, event.outlet = emit, outlet
