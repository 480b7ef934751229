"""``EventPrograms``: what a hit of an event does, as programs: its triggers, and its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.fetch import Register
from kprobesim.image import KernelImage
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.programs.actions import Action
from kprobesim.programs.planting import Programs
from kprobesim.programs.program import Program
from kprobesim.programs.stores.stream import Outlet
from kprobesim.programs.values import Value
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.fetching import Fetching
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.place import place_of
from kprobesim.trace.probe import TraceProbe
from kprobesim.trace.record import RecordLayout
from kprobesim.trace.trace_array import TraceArray

if TYPE_CHECKING:
    from kprobesim.trace.tracing import Tracing

__all__ = ["EventPrograms", "Records", "Told", "planted_of"]

Records = list[tuple[TraceArray, TraceEvent, int]]
"""Where a program records: into which buffer, as which event, by which of its actions."""


class Told:
    """What an event does that others than its own probes tell of hits.

    Attributes:
        outlet: Where it records.

    Args:
        run: Does it, with registers and a place.
        outlet: See above.
        know: Hears in which probe's hit that is.
    """

    def __init__(
        self, run: Callable[[Any, int], None], outlet: Outlet, know: Callable[[Kprobe], None]
    ) -> None:
        self.outlet = outlet
        self._run = run
        self._know = know
        self._in: Kprobe | None = None

    def __call__(self, p: Kprobe) -> None:
        """Do it, in the middle of a hit of ``p``."""
        if p is not self._in:
            self._in = p
            self._know(p)
        self._run(None, p.addr or 0)


class EventPrograms:
    """Makes the programs of one kernel's events.

    Args:
        tracing: Its tracing.
        programs: Plants programs.
        kprobes: Its probes.
        image: What runs.
    """

    def __init__(
        self,
        tracing: Tracing,
        programs: Programs,
        kprobes: KprobesManager,
        image: KernelImage,
    ) -> None:
        self._tracing = tracing
        self._programs = programs
        self._kprobes = kprobes
        self._fetching = Fetching(
            image.arch, image.version, lambda symbol: image.symbols[symbol].address
        )

    def of_probe(self, probe: TraceProbe) -> tuple[Program, RecordLayout, Records]:
        """What is done at a hit of a probe, how to read what it records, and who records where."""
        definition = probe.definition
        values = self._fetching.values(definition, ftrace=self._asks_for_ftrace(definition))
        layout = RecordLayout(definition, values, stacks=self._tracing.stacks)
        fields = self._fields(probe.event, definition, values, lambda: planted_of(probe))
        actions: list[Action] = []
        records: Records = []
        for array, seen in self._tracing.recorders(probe.event):
            more, number = array.actions(seen, fields, layout)
            records.append((array, seen, len(actions) + number))
            actions += more
        program = Program(actions, returns=definition.returns, maxactive=definition.maxactive)
        return program, layout, records

    def told(
        self,
        event: TraceEvent,
        values: Sequence[list[Value]],
        record_bytes: int,
    ) -> Told:
        """What an event does that no probe of its own hits.

        Args:
            event: The event.
            values: What each of its fields is.
            record_bytes: Of its record in the kernel, without what texts add.
        """
        definition = event.definition
        layout = RecordLayout(definition, values, stacks=self._tracing.stacks)
        layout.fixed = record_bytes
        at: list[Kprobe] = []
        fields = self._fields(event, definition, values, lambda: at[0])
        actions, number = self._tracing.actions(event, fields, layout)
        run, stores = self._programs.by_python(Program(actions))
        outlet: Outlet = stores[number]

        def know(p: Kprobe) -> None:
            at[:] = [p]
            self._tracing.know_told(event, outlet, layout, p)

        return Told(run, outlet, know)

    def _fields(
        self,
        event: TraceEvent,
        definition: ProbeDefinition,
        values: Sequence[list[Value]],
        hit: Callable[[], Kprobe],
    ) -> ProbeFields:
        return ProbeFields(
            definition,
            values,
            event.id,
            name=self._tracing.name,
            context=lambda word: self._tracing.context_at(hit(), word),
        )

    def _asks_for_ftrace(self, definition: ProbeDefinition) -> bool:
        """Whether it reads what another value is in where ftrace is, and that is there."""
        if definition.returns or Register("orig_ax") not in (a.fetch for a in definition.arguments):
            return False
        rules = self._kprobes.rules
        return rules.site(Kprobe(**place_of(definition, rules)), first=True).ftrace


def planted_of(probe: TraceProbe) -> Kprobe:
    """What is planted of a probe."""
    assert probe.planted is not None
    (p,) = probe.planted.probes
    found: Kprobe = p
    return found
