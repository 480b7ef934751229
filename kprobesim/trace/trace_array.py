"""``TraceArray``: a buffer, what is recorded into it, and how it is shown (``struct trace_array``).

A kernel has one at the top of tracefs, and one for each folder in ``instances/``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TypeVar

from kprobesim.image import KernelImage
from kprobesim.inside.tasks import Tasks
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.programs.actions import Action
from kprobesim.programs.appending import Append
from kprobesim.programs.planting import Programs
from kprobesim.programs.stores.stream import Outlet, Stream
from kprobesim.trace.buffer import TraceBuffer
from kprobesim.trace.context import ContextOf
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.names import Names
from kprobesim.trace.pid_filter import PidFilter
from kprobesim.trace.reader import Reader
from kprobesim.trace.record import RecordLayout
from kprobesim.trace.saved_cmdlines import SavedCmdlines
from kprobesim.trace.shown import Shown, View
from kprobesim.trace.stack_traces import StackTraces
from kprobesim.trace.tracers.recording import CallRecord
from kprobesim.trace.ways import Ways

__all__ = ["TraceArray"]

_S = TypeVar("_S", bound=Stream)
_T = TypeVar("_T")


class TraceArray:
    """What is recorded in one place.

    Attributes:
        buffer: What was recorded.
        options: The options that are on, of those that change what is recorded or shown.
        saved: The names of tasks.
        pids: Of which tasks events are recorded; :meth:`follow_pids` when that has changed.
        snapshot: What the last snapshot has taken.
        stack_traces: The stacks that triggers have written into the buffer.
        shown: How entries are shown.
        view: How the text of all of them is made.
    """

    def __init__(
        self,
        programs: Programs,
        tasks: Tasks,
        image: KernelImage,
        name: Names,
        ways: Ways,
        *,
        booted: bool,
    ) -> None:
        """Nothing is recorded.

        Args:
            programs: Plants what events do.
            tasks: Reads the kernel's tasks.
            image: What runs.
            name: Names addresses.
            ways: How a kernel would have come to each probe.
            booted: Whether it runs by itself: one that is called is in no context.
        """
        self.name = name
        self._programs, self._ways = programs, ways
        self._stream: Stream = programs.new_stream()
        self.saved = SavedCmdlines(programs, tasks, image, self._stream)
        context = None
        if booted:
            context = ContextOf(image.arch, image.version, preemptible=image.preemptible)
        self.shown = Shown(image, name, self.saved, context)
        self.options = self.shown.options
        self.view: View = self.shown
        self._reader = reader = Reader(
            self._stream, self.saved, ways, context, programs.stacks, name
        )
        reader.show = self._show
        self.buffer = TraceBuffer(reader, cpus=programs.cpus)
        self.shown.online = lambda: programs.online
        self.snapshot = self.buffer.spare()
        self.stack_traces = reader.stack_traces = StackTraces(self._stream, programs.stacks, self)
        self.pids = PidFilter()
        self._on, self._cpus = True, (1 << programs.cpus) - 1

    @property
    @abstractmethod
    def events(self) -> Mapping[str, TraceEvent]:
        """All events by ``GROUP/NAME``, in the order in which they were defined."""

    @abstractmethod
    def replant(self, event: TraceEvent) -> None:
        """The programs of ``event`` are to be made anew."""

    def follow_pids(self) -> None:
        """Record events of those tasks that :attr:`pids` names now."""
        for event in self.events.values():
            event.replant()

    # -- what hits do ------------------------------------------------------------------------------

    def actions(
        self, event: TraceEvent, fields: ProbeFields, layout: RecordLayout
    ) -> tuple[list[Action], int]:
        """What a hit of an event does here, and which of that is its record."""
        when = None if event.predicate is None else event.predicate(fields)
        task = self.pids.condition()
        if task is not None:
            when = task if when is None else when & task
        before = [make(fields) for make in event.before]
        after = [make(fields) for make in event.after]
        record = Append(layout.values, self._stream, when=when)
        return [*before, record, *after], len(before)

    def know(self, event: TraceEvent, outlet: Outlet, layout: RecordLayout, p: Kprobe) -> None:
        """Know again what ``p`` records of an event."""
        outlet.on = event.armed and not event.soft_disabled
        self._reader.know(outlet.number, event, layout, p)

    def know_told(self, event: TraceEvent, outlet: Outlet, layout: RecordLayout, p: Kprobe) -> None:
        """Know again what an action records of an event in the middle of a hit of ``p``."""
        self.buffer.pull()
        self._reader.know(outlet.number, event, layout, p, in_action=True)

    def record(self, event: TraceEvent, on: bool) -> None:
        """Let the programs of ``event`` record, or do all but that."""
        for probe in event.probes:
            outlet = probe.outlets.get(event)
            if outlet is not None:
                outlet.on = on and event.armed

    def new_stream(self, kind: type[_S]) -> _S:
        """A stream of that kind, for actions of events."""
        return self._programs.new_stream(kind)

    def add_tracer(self, make: Callable[[Stream, dict[int, CallRecord], Shown], _T]) -> _T:
        """Let a tracer record into the buffer: ``make(stream, known, shown)`` makes it."""
        return make(self._stream, self._reader.calls, self.shown)

    # -- what was recorded -------------------------------------------------------------------------

    @property
    def on(self) -> bool:
        """Whether entries are written, as ``tracing_on`` says; to be set."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        self._on = on
        self._stream.on = on and bool(self._cpus)

    @property
    def cpus(self) -> int:
        """Which CPUs are traced, as a mask; to be set."""
        return self._cpus

    @cpus.setter
    def cpus(self, cpus: int) -> None:
        self.buffer.pull()
        self._cpus = self.buffer.mask = cpus
        self.on = self._on

    def take_snapshot(self) -> None:
        """Exchange the buffer's entries for those of the last snapshot (``update_max_tr()``)."""
        self.buffer.exchange(self.snapshot)

    @property
    def now(self) -> int:
        """The guest's time, in nanoseconds."""
        return self._programs.now

    @property
    def cpu(self) -> int:
        """The number of the CPU that runs."""
        return self._programs.cpu

    def context_at(self, p: Kprobe, word: int) -> tuple[int, int]:
        """``common_flags`` and ``common_preempt_count`` of a hit of ``p``, by its "context"."""
        return self._reader.contexts(p)(word)

    def _show(self, event: TraceEvent, entry: TraceEntry) -> str:
        return self.shown.before(entry) + event.body(entry, self.name)

    # -- files -------------------------------------------------------------------------------------

    def text(self) -> str:
        """The text of the file ``trace``."""
        return self.view.header(self.buffer) + "".join(self.view.lines(self.buffer))

    def know_names(self, text: str) -> None:
        """Save the names of tasks that :meth:`saved_cmdlines` has given."""
        self.saved.know(text)

    def saved_cmdlines(self) -> str:
        """The text of the file ``saved_cmdlines``."""
        self.buffer.pull()
        return self.saved.text()

    def saved_tgids(self) -> str:
        """The text of the file ``saved_tgids``."""
        self.buffer.pull()
        return self.saved.tgids()
