"""``events/``: a folder for each group and each event, with switch, filter, format and triggers.

event_enable_write(), system_enable_read() and their kin of kernel/trace/trace_events.c (6.12).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping

from kprobesim.errors import KprobeError
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.files.node import File, Folder, Node, ReadOnly, Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.trace_array import TraceArray

__all__ = ["EventFiles", "EventsFolder", "Switches"]

EventFiles = Callable[[TraceEvent], dict[str, File]]
"""The files of one event that belong to filters and triggers."""

_MIXTURE = {(): "?", (False,): "0", (True,): "1", (False, True): "X"}


class Switches:
    """Enables events, one or many.

    Args:
        tracing: The kernel's tracing.
        expand: Is called first: the buffers get their size with the first event.
    """

    def __init__(self, tracing: TraceArray, expand: Callable[[], object]) -> None:
        self._tracing = tracing
        self._expand = expand

    def set(self, events: Iterable[TraceEvent], enabled: bool) -> None:
        """Enable or disable all of ``events``; raises what the first refusal was at the end."""
        self._expand()
        refused: Exception | None = None
        for event in list(events):
            try:
                event.enabled = enabled
            except (KprobeError, OSError) as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def file(self, events: Callable[[], Iterable[TraceEvent]], text: Callable[[], str]) -> File:
        """A file that shows ``text``, and switches ``events``."""

        def switch(written: str) -> None:
            value = number_of(written)
            if value > 1:
                raise refusal(errno.EINVAL, f"{value} is neither 0 nor 1")
            self.set(events(), bool(value))

        return Setting(text, switch)

    def of_one(self, event: TraceEvent) -> File:
        """The file ``enable`` of an event."""
        return self.file(lambda: (event,), lambda: f"{event.switch}\n")

    def of_many(self, events: Callable[[], Iterable[TraceEvent]]) -> File:
        """The file ``enable`` of a group, or of all events."""

        def text() -> str:
            return _MIXTURE[tuple(sorted({event.enabled for event in events()}))] + "\n"

        return self.file(events, text)


class EventsFolder(Folder):
    """``events/``.

    Args:
        tracing: The kernel's tracing.
        switches: Enables events.
        files: Makes further files of an event.
        group_files: Makes further files of a group, given what its events are.
        own: What else is in it.
    """

    def __init__(
        self,
        tracing: TraceArray,
        switches: Switches,
        files: EventFiles,
        group_files: Callable[[Callable[[], list[TraceEvent]]], dict[str, File]],
        own: Mapping[str, Node],
    ) -> None:
        self._tracing = tracing
        self._switches = switches
        self._files = files
        self._group_files = group_files
        self._own = own

    def events(self, group: str = "") -> list[TraceEvent]:
        """All events, or those of a group."""
        every = self._tracing.events.values()
        return [event for event in every if not group or event.group == group]

    def names(self) -> Iterator[str]:
        """See :meth:`Folder.names`."""
        yield from dict.fromkeys(event.group for event in self.events())
        yield "enable"
        yield from self._own

    def find(self, name: str) -> Node | None:
        """See :meth:`Folder.find`."""
        if name == "enable":
            return self._switches.of_many(self.events)
        if name in self._own:
            return self._own[name]
        return _GroupFolder(self, name) if self.events(name) else None

    def in_group(self, group: str) -> dict[str, File]:
        """The files of a group itself."""

        def events() -> list[TraceEvent]:
            return self.events(group)

        return {"enable": self._switches.of_many(events), **self._group_files(events)}

    def of_event(self, event: TraceEvent) -> dict[str, File]:
        """The files of an event."""
        return {
            "enable": self._switches.of_one(event),
            "format": ReadOnly(lambda: event.format),
            "id": ReadOnly(lambda: f"{event.id}\n"),
            **self._files(event),
        }


class _GroupFolder(Folder):
    """``events/GROUP/``."""

    def __init__(self, above: EventsFolder, group: str) -> None:
        self._above = above
        self._group = group

    def names(self) -> Iterator[str]:
        """See :meth:`Folder.names`."""
        yield from (event.name for event in self._above.events(self._group))
        yield from self._above.in_group(self._group)

    def find(self, name: str) -> Node | None:
        """See :meth:`Folder.find`."""
        for event in self._above.events(self._group):
            if event.name == name:
                return _EventFolder(self._above, event)
        return self._above.in_group(self._group).get(name)


class _EventFolder(Folder):
    """``events/GROUP/EVENT/``."""

    def __init__(self, above: EventsFolder, event: TraceEvent) -> None:
        self._nodes = above.of_event(event)

    def names(self) -> Iterable[str]:
        """See :meth:`Folder.names`."""
        return sorted(self._nodes)

    def find(self, name: str) -> Node | None:
        """See :meth:`Folder.find`."""
        return self._nodes.get(name)
