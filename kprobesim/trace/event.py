"""``TraceEvent``: one event with its probes, as ``events/GROUP/NAME/`` shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.programs.actions import Action
from kprobesim.programs.values import Value
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event_format import EventField, event_fields, format_text
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.showing import Naming, show_fields

__all__ = ["EventPlanter", "MakeAction", "TraceEvent"]

MakeAction = Callable[[ProbeFields], Action]
"""Makes an action of the program of one probe, whose fields it is given."""


class EventPlanter(Protocol):
    """Who plants the probes of events."""

    @property
    def tells_lengths(self) -> bool:
        """Whether ``format`` tells how long arrays are."""

    def enable(self, event: TraceEvent, enabled: bool) -> None:
        """Arm its probes, or disarm them."""

    def record(self, event: TraceEvent, on: bool) -> None:
        """Its armed probes record, or do all but that."""

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
        before: Make what else each hit does, before its record: further actions of its programs.
        after: Make what comes behind the record. :meth:`act` sets both.
    """

    def __init__(self, number: int, definition: ProbeDefinition, planter: EventPlanter) -> None:
        """No probe is planted yet."""
        self.group, self.name, self.id = definition.group, definition.event, number
        self.probes: list[TraceProbe] = []
        self.predicate: Callable[[ProbeFields], Value] | None = None
        self.filter = "none"
        self.before: tuple[MakeAction, ...] = ()
        self.after: tuple[MakeAction, ...] = ()
        self._first = definition
        self._planter = planter
        self._armed = self._soft_disabled = False
        self._soft_users = 0

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

    # -- whether it is armed, and records ----------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether it records; to be set, as its file ``enable`` does."""
        return self._armed and not self._soft_disabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        if enabled:
            self.arm()
        else:
            self.disarm()

    @property
    def armed(self) -> bool:
        """Whether its probes are armed: for those who want its entries, or for triggers."""
        return self._armed

    @property
    def switch(self) -> str:
        """What its file ``enable`` shows: with a star while triggers hold on to it."""
        return f"{self.enabled:d}{'*' if self._soft_users or self._soft_disabled else ''}"

    @property
    def soft_disabled(self) -> bool:
        """Whether its probes are armed, and it does not record; to be set, also at a hit."""
        return self._soft_disabled

    @soft_disabled.setter
    def soft_disabled(self, soft_disabled: bool) -> None:
        self._soft_disabled = soft_disabled
        self._planter.record(self, not soft_disabled)

    def arm(self, *, soft: bool = False) -> None:
        """Arm its probes, and record (``__ftrace_event_enable_disable()``).

        Args:
            soft: For a trigger: what was not recorded before, still is not.

        Raises:
            KprobeError: A probe cannot be armed; nothing has changed.
        """
        armed = self._armed
        if not armed:
            self._planter.enable(self, True)
            self._armed = True
        if not soft:
            self.soft_disabled = False
            return
        self._soft_users += 1
        if not armed:
            self.soft_disabled = True

    def disarm(self, *, soft: bool = False) -> None:
        """Record no more; probes are disarmed unless triggers need them.

        Args:
            soft: A trigger needs it no more.
        """
        if soft:
            self._soft_users -= 1
            if self._soft_users:
                return
        disarms = self._soft_disabled if soft else not self._soft_users
        if disarms and self._armed:
            self._planter.enable(self, False)
            self._armed = False
        if bool(self._soft_users) is not self._soft_disabled:
            self.soft_disabled = bool(self._soft_users)

    def restrict(self, predicate: Callable[[ProbeFields], Value] | None, text: str) -> None:
        """Record only hits that meet a condition.

        Args:
            predicate: Makes it of the fields of each probe; ``None``: all hits.
            text: What the file ``filter`` shows.
        """
        before = self.predicate, self.filter
        self.predicate, self.filter = predicate, text
        try:
            self._planter.replant(self)
        except BaseException:
            self.predicate, self.filter = before
            self._planter.replant(self)
            raise

    def act(self, before: Sequence[MakeAction], after: Sequence[MakeAction] = ()) -> None:
        """Let each hit do actions of programs.

        Args:
            before: Make those that come before its record, of the fields of each probe.
            after: Make those that come behind it.
        """
        self.before, self.after = tuple(before), tuple(after)
        self._planter.replant(self)

    def replant(self) -> None:
        """What it does at hits is to be made anew."""
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
        state = "enabled" if self.enabled else "disabled"
        return f"<TraceEvent {self.full_name}: {len(self.probes)} probes, {state}>"
