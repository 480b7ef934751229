"""``TraceEvent``: one event with its probes, as ``events/GROUP/NAME/`` shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.programs.values import Value
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event_format import EventField, event_fields, format_text
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.showing import Naming, show_fields

__all__ = ["EventPlanter", "TraceEvent"]


class EventPlanter(Protocol):
    """Who plants the probes of events."""

    @property
    def tells_lengths(self) -> bool:
        """Whether ``format`` tells how long arrays are."""

    def enable(self, event: TraceEvent, enabled: bool) -> None:
        """Arm its probes, or disarm them."""

    def replant(self, event: TraceEvent) -> None:
        """Its condition or its actions have changed."""


class TraceEvent:
    """One event.

    Attributes:
        group: Its group.
        name: Its name.
        id: The number of its type.
        probes: Its probes, in the order in which they were defined.
        predicate: Makes what must be true of a hit to be recorded, a condition of a program;
            ``None``: nothing. :meth:`restrict` sets it.
        filter: The text of that, as the file ``filter`` shows it.
        actions: What else each hit does: further actions of its programs, whose stores are theirs.
    """

    def __init__(self, number: int, definition: ProbeDefinition, planter: EventPlanter) -> None:
        """No probe is planted yet."""
        self.group, self.name, self.id = definition.group, definition.event, number
        self.probes: list[TraceProbe] = []
        self.predicate: Callable[[ProbeFields], Value] | None = None
        self.filter = "none"
        self.actions: tuple[Any, ...] = ()
        self._first = definition
        self._planter = planter
        self._enabled = False

    @property
    def full_name(self) -> str:
        """``GROUP/NAME``."""
        return f"{self.group}/{self.name}"

    @property
    def definition(self) -> ProbeDefinition:
        """The first definition: all of an event have the same fields."""
        return self.probes[0].definition if self.probes else self._first

    @property
    def returns(self) -> bool:
        """Whether it is one of returns."""
        return self.definition.returns

    @property
    def fields(self) -> Sequence[EventField]:
        """The fields of its record behind the common ones."""
        return event_fields(self.definition)

    @property
    def format(self) -> str:
        """The text of the file ``format``."""
        return format_text(self.name, self.id, self.definition, lengths=self._planter.tells_lengths)

    @property
    def enabled(self) -> bool:
        """Whether its probes are armed and record; to be set."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        if enabled != self._enabled:
            self._planter.enable(self, enabled)
            self._enabled = enabled

    def restrict(self, predicate: Callable[[ProbeFields], Value] | None, text: str) -> None:
        """Record only hits that meet a condition.

        Args:
            predicate: Makes it of the fields of each probe; ``None``: all hits.
            text: What the file ``filter`` shows.
        """
        self.predicate, self.filter = predicate, text
        self._planter.replant(self)

    def act(self, actions: Sequence[Any]) -> None:
        """Let each hit do ``actions`` of programs, beside what it records."""
        self.actions = tuple(actions)
        self._planter.replant(self)

    @property
    def hits(self) -> int:
        """Hits of all its probes."""
        return sum(probe.hits for probe in self.probes)

    @property
    def misses(self) -> int:
        """Hits of all its probes that were missed."""
        return sum(probe.misses for probe in self.probes)

    def body(self, entry: TraceEntry, name: Naming) -> str:
        """What an entry says behind the columns: the event's name, the place, the fields."""
        place = name(entry.ip)
        if entry.func is not None:
            place += f" <- {name(entry.func).partition('+')[0]}"
        fields = show_fields(self.definition.arguments, entry.fields, name)
        return f"{self.name}: ({place}){fields}"

    def __repr__(self) -> str:
        state = "enabled" if self._enabled else "disabled"
        return f"<TraceEvent {self.full_name}: {len(self.probes)} probes, {state}>"
