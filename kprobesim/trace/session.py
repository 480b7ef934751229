"""``Trace``: events that are defined for a while, and what they record meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from kprobesim.dynevent.error import ProbeEventError
from kprobesim.errors import UsageError
from kprobesim.html import table
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.exports.export import About, ProfileRow, open_export
from kprobesim.trace.frames import SourceFrame, StackNames
from kprobesim.trace.kprobe_events import KprobeEvents
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.wanted import Places, Wanted, definitions_of

if TYPE_CHECKING:
    from kprobesim.trace.exports.arrays import Arrays

__all__ = ["Trace", "Traced"]

_OF_PLACES = ("BAD_PROBE_ADDR", "NON_UNIQ_SYMBOL")


@dataclass(frozen=True)
class Traced:
    """The kernel that is traced.

    Attributes:
        release: As ``uname -r`` prints it.
        arch: Its architecture.
        tracing: Its trace events.
        events: Its ``kprobe_events``.
        places: Who knows places that these do not know.
        names: Names addresses.
        set_filter: Writes the file ``filter`` of an event.
        turn: Taken while its probes change.
        on_notrace: Whether functions that ftrace cannot trace may be traced.
    """

    release: str
    arch: str
    tracing: Tracing
    events: KprobeEvents
    places: Places
    names: StackNames
    set_filter: Callable[[TraceEvent, str], None]
    turn: AbstractContextManager[object]
    on_notrace: bool


class Trace(Sequence[TraceEntry]):
    """The entries that events have left, the oldest first: those so far, while it goes on.

    It goes on in a ``with`` block; behind it the events are gone, and what was recorded stays. As
    text it is what the file ``trace`` shows.

    >>> with k.trace("p crc32_le len=%dx:u64", "r crc32_le ret=$retval:x32") as trace:
    ...     k.call("crc32_le", 0, "123456789", 9)
    >>> print(trace)
    >>> trace.save("crc.svg")
    """

    def __init__(
        self,
        traced: Traced,
        wanted: Sequence[Wanted],
        *,
        stack: bool = False,
        limit: int | None = None,
    ) -> None:
        """Nothing is defined before :meth:`prepare`.

        Args:
            traced: The kernel.
            wanted: The events.
            stack: Whether each entry gets the stack of its callers.
            limit: How many entries are kept: the first ones; 0: hits are only counted.
        """
        self._traced = traced
        self._wanted = wanted
        self._stack = stack
        self._limit = limit
        self._entries: list[TraceEntry] = []
        self._taken = self._lost = 0
        self._stacks_before = self._stacks_after = traced.tracing.stack_traces.numbers.lost
        self._undo = ExitStack()
        self._events: dict[str, TraceEvent] = {}
        self._profile: list[ProfileRow] = []
        self._about: About | None = None
        self._arrays: Arrays | None = None
        self.active = False
        """Whether it goes on."""

    # -- going on ----------------------------------------------------------------------------------

    def prepare(self) -> Trace:
        """Define the events; nothing is recorded yet.

        Raises:
            ProbeEventError: A definition is refused; nothing is defined then.
            UsageError: An event of that name is there already, or it was prepared before.
            FilterError: A filter is refused.
        """
        if self._about is not None:
            raise UsageError("a trace is made once: make another one with k.trace()")
        traced, tracing = self._traced, self._traced.tracing
        with traced.turn, ExitStack() as undo:
            before = tracing.buffer.kb, tracing.stacks, tracing.on_notrace
            undo.callback(self._give_back, *before)
            tracing.buffer.kb, tracing.stacks = None, self._stack
            tracing.on_notrace = traced.on_notrace
            for wanted in self._wanted:
                self._define(wanted, undo)
            self._about = self._describe()
            self._undo = undo.pop_all()
        self.active = True
        return self

    def start(self) -> Trace:
        """Record from now on, what :meth:`prepare` defines or has defined."""
        if not self.active:
            self.prepare()
        self._enable(True)
        self._traced.tracing.on = self._limit != 0 and not self.full
        return self

    def pause(self) -> None:
        """Record nothing until :meth:`start`; nothing is hit meanwhile."""
        self._enable(False)

    def _enable(self, enabled: bool) -> None:
        with self._traced.turn:
            for event in self._events.values():
                event.enabled = enabled

    def _give_back(self, kb: int | None, stacks: bool, on_notrace: bool) -> None:
        tracing = self._traced.tracing
        tracing.buffer.kb, tracing.stacks, tracing.on = kb, stacks, True
        tracing.on_notrace = on_notrace

    def _define(self, wanted: Wanted, undo: ExitStack) -> None:
        events = self._traced.events
        for line in definitions_of(wanted, self._traced.places):
            try:
                events.command(line, newest=self._traced.on_notrace)
            except ProbeEventError as error:
                if error.id in _OF_PLACES and error.__cause__ is None:
                    raise error from self._traced.places.why_not(line.split()[1])
                raise
            joined, probe = events.newest
            undo.callback(events.remove, joined, probe)
            name = f"{joined.group}/{joined.name}"
            if name in self._events:
                continue
            if len(joined.probes) > 1:
                kind, *words = line.split()
                raise UsageError(
                    f"{line!r}: there is an event {name} already; give this one a name, as in "
                    f"'{kind.partition(':')[0]}:mine {' '.join(words)}'"
                )
            event = self._events[name] = self._traced.tracing.events[name]
            if wanted.filter:
                self._traced.set_filter(event, wanted.filter)

    def _describe(self) -> About:
        traced = self._traced
        lines = [
            line
            for line in traced.events.read().splitlines()
            if line.split()[0].partition(":")[2] in self._events
        ]
        return About(
            release=traced.release,
            arch=traced.arch,
            definitions=lines,
            arguments={name: event.definition.arguments for name, event in self._events.items()},
            names=traced.names,
            cpus=len(traced.tracing.buffer.cpus),
        )

    def close(self) -> None:
        """Record no more, and take the events out; what was recorded stays."""
        if not self.active:
            return
        self.active = False
        self.pause()
        with self._traced.turn:
            self._entries += self._take()
            self._profile = self._count()
            self._stacks_after = self._traced.tracing.stack_traces.numbers.lost
            self._undo.close()

    def _count(self) -> list[ProfileRow]:
        return [
            ProfileRow(event.full_name, probe.hits, probe.misses)
            for event in self._events.values()
            for probe in event.probes
        ]

    def __enter__(self) -> Trace:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- entries -----------------------------------------------------------------------------------

    def take(self) -> list[TraceEntry]:
        """The entries that have come since the last time; they are not kept."""
        return self._take() if self.active else self._give()

    def _give(self) -> list[TraceEntry]:
        entries, self._entries = self._entries, []
        return entries

    def _take(self) -> list[TraceEntry]:
        found = self._traced.tracing.buffer.take_all()
        if self._limit:
            room = self._limit - self._taken
            self._lost += len(found[room:])
            del found[room:]
        self._taken += len(found)
        if self.full:
            self._traced.tracing.on = False
        return found

    @property
    def full(self) -> bool:
        """Whether there are as many entries as there may be; never where none are wanted."""
        return bool(self._limit) and self._taken >= (self._limit or 0)

    def _look(self) -> list[TraceEntry]:
        if self.active:
            self._entries += self._take()
        return self._entries

    def __len__(self) -> int:
        return len(self._look())

    @overload
    def __getitem__(self, index: int) -> TraceEntry: ...

    @overload
    def __getitem__(self, index: slice) -> list[TraceEntry]: ...

    def __getitem__(self, index: int | slice) -> TraceEntry | list[TraceEntry]:
        return self._look()[index]

    def __iter__(self) -> Iterator[TraceEntry]:
        return iter(tuple(self._look()))

    # -- about it ----------------------------------------------------------------------------------

    @property
    def about(self) -> About:
        """The kernel and the events; raises :class:`UsageError` before :meth:`prepare`."""
        if self._about is None:
            raise UsageError("the trace has not begun: use it in a with block")
        return self._about

    @property
    def profile(self) -> list[ProfileRow]:
        """Hits and misses of each probe, as ``kprobe_profile`` has them."""
        return self._count() if self.active else list(self._profile)

    @property
    def lost(self) -> int:
        """Entries that were recorded and are not kept, because of ``limit``."""
        return self._lost

    @property
    def lost_stacks(self) -> int:
        """Entries without the stack that they should have: too many different ones had come.

        A kernel has numbers for 16,384 of them (:attr:`Kernel.stacks`).
        """
        now = self._traced.tracing.stack_traces.numbers.lost
        return (now if self.active else self._stacks_after) - self._stacks_before

    def frames(self, entry: TraceEntry) -> tuple[SourceFrame, ...]:
        """The functions that ``entry`` stands in, innermost first: callers where recorded."""
        return self._traced.names.of(entry)

    def header(self) -> str:
        """What stands above the entries in the file ``trace``, but for how many there are."""
        tracing = self._traced.tracing
        lines = tracing.shown.header(tracing.buffer).splitlines(keepends=True)
        return "".join(lines[:2] + lines[4:])

    def line(self, entry: TraceEntry) -> str:
        """The kernel's line for ``entry``, and one for each caller if it has a stack."""
        shown = str(entry)
        if entry.stack is not None:
            shown += "".join(f"\n => {frame}" for frame in self.frames(entry))
        return shown

    def __str__(self) -> str:
        return self.header() + "".join(f"{self.line(entry)}\n" for entry in self)

    def __repr__(self) -> str:
        state = ", going on" if self.active else ""
        return f"<Trace of {len(self)} entries{state}>"

    def _repr_html_(self) -> str:
        rows = (
            (
                f"{entry.time / 1e9:.9f}",
                f"{entry.comm}-{entry.pid}",
                entry.name,
                self._traced.names.at(entry.ip, exact=entry.func is None)[-1].place,
                " ".join(f"{name}={value}" for name, value in entry.fields.items()),
            )
            for entry in self
        )
        head = ("time", "task", "event", "place", "fields")
        return table(head, rows, caption="Trace", total=len(self))

    # -- as what others read -----------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was recorded to a file; the end of its name says what it is.

        ``.json``, ``.csv``, ``.parquet``, ``.perfetto-trace`` (for ui.perfetto.dev), ``.folded``
        and ``.svg`` (a flame graph: give ``stack=True`` to have more than one function in it).

        Raises:
            UsageError: There is no such kind, the library that writes it is not installed, or the
                file cannot be written.
        """
        with open_export(path, self.about) as export:
            for entry in self:
                export.add(entry)
            export.finish(self.profile, self.lost)

    def _as_arrays(self) -> Arrays:
        from kprobesim.trace.exports.arrays import Arrays

        entries = self._look()
        if self._arrays is None or len(self._arrays) != len(entries):
            self._arrays = Arrays(self.about, tuple(entries))
        return self._arrays

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table``, a row for each entry; the same one until more entries come.

        Raises:
            UsageError: ``pyarrow`` is not installed: ``pip install 'kprobesim[frames]'``.
        """
        return self._as_arrays().table

    def to_polars(self) -> Any:
        """A ``polars.DataFrame`` that shares the memory of :meth:`to_arrow`.

        Raises:
            UsageError: ``polars`` or ``pyarrow`` is not installed.
        """
        return self._as_arrays().to_polars()

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` that shares the memory of :meth:`to_arrow`.

        Raises:
            UsageError: ``pandas`` or ``pyarrow`` is not installed.
        """
        return self._as_arrays().to_pandas()

    def to_numpy(self, event: str | None = None) -> Any:
        """A structured ``numpy`` array of the entries of one event, the same one each time.

        Args:
            event: ``GROUP/NAME`` or ``NAME``; by default the only event that there is.

        Raises:
            UsageError: There is no such event, or there are several; ``numpy`` is not installed.
        """
        return self._as_arrays().records(self._event(event))

    def _event(self, name: str | None) -> str:
        names = list(self.about.arguments)
        found = [one for one in names if name is None or name in (one, one.rpartition("/")[2])]
        if len(found) != 1:
            raise UsageError(f"name one event: there are {', '.join(names)}")
        return found[0]
