"""``Tracing``: the events of one kernel, what they record, and the text of it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.image import KernelImage
from kprobesim.inside.tasks import Tasks
from kprobesim.kprobes.kprobe import KprobeFlag
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.programs.planted import Planted
from kprobesim.programs.planting import Programs
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.event_programs import EventPrograms, Records, planted_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.instance import Instance
from kprobesim.trace.names import Names
from kprobesim.trace.place import place_of
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.record import RecordLayout
from kprobesim.trace.trace_array import TraceArray
from kprobesim.trace.ways import Ways

__all__ = ["Tracing"]

_FIRST_ID = 2000  # behind those of the kernel's own events


class Tracing(TraceArray):
    """The tracing of one kernel: its events, and the buffer at the top of tracefs.

    Attributes:
        instances: The others, by name.
        tells_lengths: Whether ``format`` tells how long arrays are.
        event_programs: Makes what a hit of an event does.
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
        self._about = programs, tasks, image, Names(image.symbols), Ways(kprobes)
        self._booted = booted
        super().__init__(*self._about, booted=booted)
        self._kprobes = kprobes
        self._image = image
        self.event_programs = EventPrograms(self, programs, kprobes, image)
        btf = image.btf
        self.tells_lengths = btf is None or btf.offset("ftrace_event_field", "len") is None
        self._events: dict[str, TraceEvent] = {}
        self.instances: dict[str, Instance] = {}
        self._next_id = _FIRST_ID
        self._stacks = False
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
        program, layout, records = self.event_programs.of_probe(probe)
        planted = self._programs.prepare(
            [definition.name],
            program,
            many=False,
            places=[place_of(definition, self._kprobes.rules)],
        )
        for p in planted.probes:
            if not self.is_armed(event):
                p.flags |= KprobeFlag.DISABLED
        self._programs.register(planted)
        probe.replant(planted)
        _keep(probe, layout, records)

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
            for instance in self.instances.values():
                instance.forget(event)

    def recorders(self, event: TraceEvent) -> list[tuple[TraceArray, TraceEvent]]:
        """Where hits of an event do something, and what it is there."""
        found: list[tuple[TraceArray, TraceEvent]] = [(self, event)]
        for instance in self.instances.values():
            seen = instance.used(event)
            if seen is not None:
                found.append((instance, seen))
        return found

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

    def _others_are_armed(self) -> None:
        """What was recorded until now was recorded with the probes that are armed now."""
        self._pull()
        self._ways.forget()

    def _pull(self) -> None:
        for array in (self, *self.instances.values()):
            array.buffer.pull()

    # -- as the planter of its events --------------------------------------------------------------

    def is_armed(self, event: TraceEvent) -> bool:
        """Whether its probes are, for here or for an instance."""
        return any(seen.armed for _, seen in self.recorders(event))

    def enable(self, event: TraceEvent, enabled: bool) -> None:
        """See :class:`EventPlanter`."""
        self.saved.follow(enabled)
        self.arm(event, event, enabled)
        self.record(event, enabled)

    def arm(self, event: TraceEvent, seen: TraceEvent, enabled: bool) -> None:
        """Arm the probes of ``event``, all or none, or disarm them, unless others want them.

        Args:
            event: The event.
            seen: What it is for who asks: it itself, or that of an instance.
            enabled: Whether to arm them.
        """
        if any(other.armed for _, other in self.recorders(event) if other is not seen):
            return
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

    def replant(self, event: TraceEvent) -> None:
        """The programs of ``event`` are to be made anew."""
        self._pull()
        armed = self.is_armed(event)
        for probe in event.probes:
            if probe.planted is None:
                continue
            program, layout, records = self.event_programs.of_probe(probe)
            if armed:
                probe.planted.disable()
            probe.planted = self._programs.exchange(probe.planted, program)
            _keep(probe, layout, records)
            if armed:
                probe.planted.enable()

    # -- instances ---------------------------------------------------------------------------------

    def make_instance(self, name: str) -> Instance:
        """Make another place to record in.

        Raises:
            OSError: There is one of that name (EEXIST).
        """
        if name in self.instances:
            raise refusal(errno.EEXIST)
        instance = Instance(self, *self._about, booted=self._booted)
        instance.saved.share(self.saved)
        self.instances[name] = instance
        return instance

    def remove_instance(self, name: str) -> None:
        """Remove one; raises ``OSError`` (ENOENT) if there is none of that name."""
        if name not in self.instances:
            raise refusal(errno.ENOENT)
        self.instances[name].close()
        del self.instances[name]

    # -- what was recorded -------------------------------------------------------------------------

    @property
    def events(self) -> Mapping[str, TraceEvent]:
        """All events by ``GROUP/NAME``, in the order in which they were defined."""
        return MappingProxyType(self._events)

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

    # -- files -------------------------------------------------------------------------------------

    def profile(self) -> str:
        """The text of the file ``kprobe_profile``."""
        return "".join(
            f"  {event.name:<44} {probe.hits:15} {probe.misses:15}\n"
            for event in self._events.values()
            for probe in event.probes
        )


def _keep(probe: TraceProbe, layout: RecordLayout, records: Records) -> None:
    """Know the entries of a probe again, wherever it records."""
    p = planted_of(probe)
    assert probe.planted is not None
    probe.outlets = {seen: probe.planted.stores[number] for _, seen, number in records}
    for array, seen, _ in records:
        array.know(seen, probe.outlets[seen], layout, p)
