"""``Tracing``: the events of one kernel, what they record, and the text of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.image import KernelImage
from kprobesim.inside.tasks import Tasks
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.programs.planted import Planted
from kprobesim.programs.planting import Programs
from kprobesim.programs.stores.stream import Stream
from kprobesim.trace.buffer import TraceBuffer
from kprobesim.trace.context import ContextOf
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.event_programs import EventPrograms, planted_of
from kprobesim.trace.names import Names
from kprobesim.trace.pid_filter import PidFilter
from kprobesim.trace.place import place_of
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.reader import Reader
from kprobesim.trace.record import RecordLayout
from kprobesim.trace.saved_cmdlines import SavedCmdlines
from kprobesim.trace.shown import Shown, View
from kprobesim.trace.stack_traces import StackTraces
from kprobesim.trace.tracers.recording import CallRecord
from kprobesim.trace.ways import Ways

__all__ = ["Tracing"]

_S = TypeVar("_S", bound=Stream)
_T = TypeVar("_T")
_FIRST_ID = 2000  # behind those of the kernel's own events


class Tracing:
    """The tracing of one kernel.

    Attributes:
        buffer: What was recorded.
        options: The options that are on, of those that change what is recorded or shown.
        tells_lengths: Whether ``format`` tells how long arrays are.
        saved: The names of tasks.
        pids: Of which tasks events are recorded; :meth:`follow_pids` when that has changed.
        snapshot: What the last snapshot has taken.
        stack_traces: The stacks that triggers have written into the buffer.
        event_programs: Makes what a hit of an event does.
        shown: How entries are shown.
        view: How the text of all of them is made.
        on_notrace: Whether functions that ftrace cannot trace may have events: as in a kernel with
            CONFIG_KPROBE_EVENTS_ON_NOTRACE.
    """

    def __init__(
        self,
        kprobes: KprobesManager,
        programs: Programs,
        tasks: Tasks,
        image: KernelImage,
        *,
        booted: bool,
    ) -> None:
        """No event is defined.

        Args:
            kprobes: The kernel's probes.
            programs: Plants what events do.
            tasks: Reads its tasks.
            image: What runs.
            booted: Whether it runs by itself: one that is called is in no context.
        """
        self._kprobes = kprobes
        self._programs = programs
        self._image = image
        self.name = Names(image.symbols)
        self._stream: Stream = programs.new_stream()
        btf = image.btf
        self.tells_lengths = btf is None or btf.offset("ftrace_event_field", "len") is None
        self._events: dict[str, TraceEvent] = {}
        self._ways = Ways(kprobes)
        self.saved = SavedCmdlines(programs, tasks, image, self._stream)
        context = ContextOf(image.arch, image.version, preemptible=image.preemptible)
        self.shown = Shown(image, self.name, self.saved, context if booted else None)
        self.options = self.shown.options
        self.view: View = self.shown
        self._reader = reader = Reader(
            self._stream,
            self.saved,
            self._ways,
            context if booted else None,
            programs.stacks,
            self.name,
        )
        reader.show = self._show
        self.event_programs = EventPrograms(self, programs, kprobes, image, self._stream, reader)
        self.buffer = TraceBuffer(reader)
        self.snapshot = self.buffer.spare()
        self.stack_traces = reader.stack_traces = StackTraces(self._stream, programs.stacks, self)
        self._next_id = _FIRST_ID
        self._enabled: set[TraceEvent] = set()
        self.pids = PidFilter()
        self._stacks = False
        self._on, self._cpus = True, 1
        self.on_notrace = False

    # -- defining ----------------------------------------------------------------------------------

    def add(self, definition: ProbeDefinition) -> TraceProbe:
        """Register the probe of a definition, disabled; of an event that is enabled, enabled.

        It joins the event of that name, or makes one. Who asks has judged the definition.

        Raises:
            KprobeError: The probe is refused, and nothing has changed.
        """
        probe = self.add_unplanted(definition)
        try:
            self.plant(probe)
        except BaseException:
            self.remove(probe)
            raise
        return probe

    def add_unplanted(self, definition: ProbeDefinition) -> TraceProbe:
        """The same without a probe, for one whose module is still to come: :meth:`plant` it."""
        event = self._events.get(definition.name)
        if event is None:
            event = self._events[definition.name] = TraceEvent(self.take_id(), definition, self)
        probe = TraceProbe(definition, event)
        event.probes.append(probe)
        return probe

    def plant(self, probe: TraceProbe) -> None:
        """Register the probe of a definition that has none, disabled unless its event is enabled.

        Raises:
            KprobeError: It is refused.
        """
        event, definition = probe.event, probe.definition
        program, layout = self.event_programs.of_probe(probe)
        planted = self._programs.prepare(
            [definition.name],
            program,
            many=False,
            places=[place_of(definition, self._kprobes.rules)],
        )
        for p in planted.probes:
            if not event.armed:
                p.flags |= KprobeFlag.DISABLED
        self._programs.register(planted)
        probe.replant(planted)
        self._keep(probe, layout)

    def unplant(self, probe: TraceProbe) -> None:
        """Unregister it: its module goes. What it has counted stays."""
        self._others_are_armed()
        if probe.planted is not None:
            probe.planted.remove()
            probe.replant(None)

    def remove(self, probe: TraceProbe) -> None:
        """Unregister a probe; with its last one the event is gone.

        Entries that it has left stay in the buffer.
        """
        event = probe.event
        self.unplant(probe)
        event.probes.remove(probe)
        if not event.probes:
            del self._events[event.full_name]

    def take_id(self) -> int:
        """The number of one more event's type."""
        self._next_id += 1
        return self._next_id - 1

    def add_event(self, event: TraceEvent) -> None:
        """One more event, which others than its probes record."""
        self._events[event.full_name] = event

    def drop_event(self, event: TraceEvent) -> None:
        """It is there no more; entries that it has left stay in the buffer."""
        self.buffer.pull()
        del self._events[event.full_name]

    def _keep(self, probe: TraceProbe, layout: RecordLayout) -> None:
        """Know the entries of a probe again."""
        p = planted_of(probe)
        outlet = _outlet(probe)
        outlet.on = not probe.event.soft_disabled
        self._reader.know(outlet.number, probe.event, layout, p)

    def _others_are_armed(self) -> None:
        """What was recorded until now was recorded with the probes that are armed now."""
        self.buffer.pull()
        self._ways.forget()

    # -- as the planter of its events --------------------------------------------------------------

    def enable(self, event: TraceEvent, enabled: bool) -> None:
        """Arm the probes of ``event``, all or none, or disarm them."""
        self._others_are_armed()
        armed: list[Planted] = []
        for probe in event.probes:
            if probe.planted is None or probe.has_gone:
                continue
            if not enabled:
                probe.planted.disable()
                continue
            try:
                probe.planted.enable()
            except BaseException:
                for planted in armed:
                    planted.disable()
                raise
            armed.append(probe.planted)
        if enabled:
            self._enabled.add(event)
        else:
            self._enabled.discard(event)
        self.saved.follow(bool(self._enabled))

    def record(self, event: TraceEvent, on: bool) -> None:
        """Let the programs of ``event`` record, or do all but that."""
        for probe in event.probes:
            if probe.planted is not None:
                _outlet(probe).on = on

    def replant(self, event: TraceEvent) -> None:
        """The programs of ``event`` are to be made anew."""
        self.buffer.pull()
        for probe in event.probes:
            if probe.planted is None:
                continue
            program, layout = self.event_programs.of_probe(probe)
            if event.armed:
                probe.planted.disable()
            probe.planted = self._programs.exchange(probe.planted, program)
            self._keep(probe, layout)
            if event.armed:
                probe.planted.enable()

    def follow_pids(self) -> None:
        """Record events of those tasks that :attr:`pids` names now."""
        for event in self._events.values():
            event.replant()

    def new_stream(self, kind: type[_S]) -> _S:
        """A stream of that kind, for actions of events."""
        return self._programs.new_stream(kind)

    # -- what was recorded -------------------------------------------------------------------------

    @property
    def events(self) -> Mapping[str, TraceEvent]:
        """All events by ``GROUP/NAME``, in the order in which they were defined."""
        return MappingProxyType(self._events)

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
        self._cpus = cpus
        self.on = self._on

    def take_snapshot(self) -> None:
        """Exchange the buffer's entries for those of the last snapshot (``update_max_tr()``)."""
        self.buffer.exchange(self.snapshot)

    @property
    def stacks(self) -> bool:
        """Whether entries get the stacks of their callers; to be set."""
        return self._stacks

    @stacks.setter
    def stacks(self, stacks: bool) -> None:
        if stacks != self._stacks:
            self.buffer.pull()
            self._stacks = stacks
            for event in self._events.values():
                event.replant()

    @property
    def now(self) -> int:
        """The guest's time, in nanoseconds."""
        return self._programs.now

    def context_at(self, p: Kprobe, word: int) -> tuple[int, int]:
        """``common_flags`` and ``common_preempt_count`` of a hit of ``p``, by its "context"."""
        return self._reader.contexts(p)(word)

    def _show(self, event: TraceEvent, entry: TraceEntry) -> str:
        return self.shown.before(entry) + event.body(entry, self.name)

    # -- tracers -----------------------------------------------------------------------------------

    def add_tracer(self, make: Callable[[Stream, dict[int, CallRecord], Shown], _T]) -> _T:
        """Let a tracer record into the buffer: ``make(stream, known, shown)`` makes it."""
        return make(self._stream, self._reader.calls, self.shown)

    # -- files -------------------------------------------------------------------------------------

    def text(self) -> str:
        """The text of the file ``trace``."""
        return self.view.header(self.buffer) + "".join(self.view.lines(self.buffer))

    def profile(self) -> str:
        """The text of the file ``kprobe_profile``."""
        return "".join(
            f"  {event.name:<44} {probe.hits:15} {probe.misses:15}\n"
            for event in self._events.values()
            for probe in event.probes
        )

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


def _outlet(probe: TraceProbe) -> Any:
    """Where the program of a planted probe records."""
    assert probe.planted is not None
    return probe.planted.stores[len(probe.event.before)]
