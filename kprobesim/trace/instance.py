"""``Instance``: a folder of ``instances/``, which records the kernel's events for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kprobesim.trace.event import TraceEvent
from kprobesim.trace.trace_array import TraceArray

__all__ = ["Defining", "Instance"]


class Defining(Protocol):
    """Who has the events that an instance sees."""

    @property
    def events(self) -> Mapping[str, TraceEvent]:
        """All events."""

    @property
    def tells_lengths(self) -> bool:
        """Whether ``format`` tells how long arrays are."""

    def replant(self, event: TraceEvent) -> None:
        """The programs of ``event`` are to be made anew."""

    def arm(self, event: TraceEvent, seen: TraceEvent, enabled: bool) -> None:
        """Somebody sees ``event`` as ``seen``, and wants it armed, or no longer."""


class Instance(TraceArray):
    """One of them.

    Each event of the kernel is seen as one of its own, with the same probes: it is enabled here,
    and has filters and triggers of here.
    """

    def __init__(self, defining: Defining, *about: Any, booted: bool) -> None:
        """No event is enabled.

        Args:
            defining: Has the events.
            *about: As for :class:`TraceArray`.
            booted: As there.
        """
        super().__init__(*about, booted=booted)
        self._defining = defining
        self._seen: dict[TraceEvent, TraceEvent] = {}
        self._of: dict[TraceEvent, TraceEvent] = {}
        self._used: set[TraceEvent] = set()

    @property
    def tells_lengths(self) -> bool:
        """See :class:`EventPlanter`."""
        return self._defining.tells_lengths

    @property
    def events(self) -> Mapping[str, TraceEvent]:
        """See :attr:`TraceArray.events`: those that probes hit."""
        events = self._defining.events.items()
        return {name: self.see(event) for name, event in events if event.probes}

    def see(self, event: TraceEvent) -> TraceEvent:
        """An event of the kernel, as it is here."""
        seen = self._seen.get(event)
        if seen is None:
            seen = self._seen[event] = TraceEvent(event.id, event.definition, self)
            seen.probes = event.probes
            self._of[seen] = event
        return seen

    def used(self, event: TraceEvent) -> TraceEvent | None:
        """The same, if hits do anything here; else ``None``."""
        seen = self._seen.get(event)
        return seen if seen in self._used else None

    def forget(self, event: TraceEvent) -> None:
        """An event is gone."""
        seen = self._seen.pop(event, None)
        if seen is not None:
            del self._of[seen]
            self._used.discard(seen)

    def close(self) -> None:
        """The folder is removed: nobody is recorded here any more."""
        for event, seen in [*self._seen.items()]:
            if seen.armed:
                self._defining.arm(event, seen, False)
            self.forget(event)
            self._defining.replant(event)

    # -- as the planter of its events --------------------------------------------------------------

    def enable(self, event: TraceEvent, enabled: bool) -> None:
        """See :class:`EventPlanter`."""
        if enabled and event not in self._used:
            self.replant(event)
        self.saved.follow(enabled)
        self._defining.arm(self._of[event], event, enabled)
        self.record(event, enabled)

    def replant(self, event: TraceEvent) -> None:
        """See :class:`EventPlanter`."""
        self._used.add(event)
        self._defining.replant(self._of[event])
