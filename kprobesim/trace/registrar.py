"""``TracingRegistrar``: what writing ``kprobe_events`` does to a kernel's tracing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache

from kprobesim.dynevent.parse import DEFAULT_GROUP
from kprobesim.errors import KprobeError, Reason
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.kretprobes import ReturnProbes
from kprobesim.kprobes.rules.rules import Rules
from kprobesim.trace.kprobe_events import EventProbe, ProbeEvent
from kprobesim.trace.place import place_of
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.tracing import Tracing

__all__ = ["TracingRegistrar"]


class TracingRegistrar:
    """Makes the events of one kernel, and plants their probes.

    Args:
        tracing: The kernel's tracing.
        rules: Its rules for probes.
        return_probes: Knows how many calls a return probe follows by default.
        own_events: Gives the kernel's own events, as ``GROUP:NAME``; asked once, if at all.
    """

    def __init__(
        self,
        tracing: Tracing,
        rules: Rules,
        return_probes: ReturnProbes,
        own_events: Callable[[], Collection[str]],
    ) -> None:
        self._tracing = tracing
        self._rules = rules
        self._return_probes = return_probes
        self._own_events = cache(own_events)

    def has_event(self, group: str, name: str) -> bool:
        """See :meth:`Registrar.has_event <kprobesim.trace.kprobe_events.Registrar.has_event>`."""
        if group == DEFAULT_GROUP:  # of kprobes alone
            return False
        return f"{group}:{name}" in self._own_events()

    def add_event(self, event: ProbeEvent) -> None:
        """It comes with its first probe."""

    def remove_event(self, event: ProbeEvent) -> None:
        """It goes with its last probe."""

    def is_enabled(self, event: ProbeEvent) -> bool:
        """See the protocol."""
        found = self._tracing.events.get(f"{event.group}/{event.name}")
        return found is not None and self._tracing.is_armed(found)

    def check(self, probe: EventProbe) -> None:
        """See the protocol."""
        definition = probe.definition
        try:
            self._rules.site(
                Kprobe(**place_of(definition, self._rules)),
                "kretprobe" if definition.returns else "kprobe",
                events=True,
                first=True,
                suggest=False,
            )
        except KprobeError as error:
            if error.reason is Reason.NOT_TRACEABLE and not self._tracing.on_notrace:
                raise

    def plant(self, event: ProbeEvent, probe: EventProbe) -> None:
        """See the protocol."""
        if isinstance(probe.planted, TraceProbe):
            self._tracing.plant(probe.planted)
        else:
            probe.planted = self._tracing.add(probe.resolved)
        assert isinstance(probe.planted, TraceProbe)
        probe.address = probe.planted.address
        if probe.definition.returns:
            most = probe.definition.maxactive
            probe.maxactive = most if most > 0 else self._return_probes.default_maxactive

    def wait(self, event: ProbeEvent, probe: EventProbe) -> None:
        """See the protocol."""
        probe.planted = self._tracing.add_unplanted(probe.resolved)

    def unplant(self, probe: EventProbe) -> None:
        """See the protocol."""
        assert isinstance(probe.planted, TraceProbe)
        self._tracing.unplant(probe.planted)

    def pull(self, probe: EventProbe) -> None:
        """See the protocol."""
        assert isinstance(probe.planted, TraceProbe)
        self._tracing.remove(probe.planted)
