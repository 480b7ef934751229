"""``EventTriggers``: the triggers of one event, and their files ``trigger`` and ``hist``.

kernel/trace/trace_events_trigger.c (``event_triggers_call()``), trace_events_hist.c.
"""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.programs.actions import Action
from kprobesim.programs.appending import Append
from kprobesim.programs.calling import Call
from kprobesim.programs.values import Value
from kprobesim.trace.event import MakeAction, TraceEvent
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.filters.condition import condition
from kprobesim.trace.hist.text import HistText
from kprobesim.trace.stack_traces import stack_values
from kprobesim.trace.triggers.trigger import Trigger

__all__ = ["EventTriggers"]


class EventTriggers:
    """The triggers of ``event``.

    Attributes:
        event: It.
        triggers: They: the newest first, and histograms at the end.
    """

    def __init__(self, event: TraceEvent) -> None:
        self.event = event
        self.triggers: list[Trigger] = []

    @property
    def histograms(self) -> list[Trigger]:
        """Those that are histograms."""
        return [trigger for trigger in self.triggers if trigger.histogram is not None]

    def add(self, trigger: Trigger) -> None:
        """One more is there, and the event is armed for it."""
        if trigger.histogram is not None:
            self.triggers.append(trigger)
        else:
            self.triggers.insert(0, trigger)
        try:
            self._plant()
            if len(self.triggers) == 1:
                self.event.arm(soft=True)
        except BaseException:
            self.triggers.remove(trigger)
            self._plant()
            raise

    def remove(self, trigger: Trigger) -> None:
        """One is gone, and with the last one the event need not be armed for them."""
        self.triggers.remove(trigger)
        if not self.triggers:
            self.event.disarm(soft=True)
        self._plant()

    def text(self, commands: Sequence[str]) -> str:
        """What the file ``trigger`` says in a kernel with these ``commands``."""
        none = f"# Available triggers:\n# {' '.join(commands)}\n"
        return "".join(f"{trigger}\n" for trigger in self.triggers) or none

    def hist(self, text: HistText) -> str:
        """What the file ``hist`` says."""
        shown = []
        for trigger in self.histograms:
            assert trigger.histogram is not None
            shown.append(text.show(trigger.histogram, str(trigger)))
        return "\n\n".join(shown)

    # -- what hits do ------------------------------------------------------------------------------

    def _plant(self) -> None:
        """Let the event's programs do all of them."""
        conditional = any(trigger.needs_record for trigger in self.triggers)
        early: list[MakeAction] = []
        late: list[MakeAction] = []
        for trigger in self.triggers:
            made = _actions(trigger, conditional=conditional)
            if conditional and trigger.command == "traceon":
                late[:0] = made  # the record's place was asked for before it
            elif trigger.is_late or (trigger.target is self.event and not conditional):
                late += made
            else:
                early += made
        self.event.act(early, late)


def _actions(trigger: Trigger, *, conditional: bool) -> list[MakeAction]:
    """What makes the actions of one probe's program: a call, entries for a gate, or both.

    Args:
        trigger: The trigger.
        conditional: Whether the kernel asks the event's triggers with the record at hand.
    """

    def when(fields: ProbeFields) -> Value | None:
        fits = fields.fits if conditional else None
        if trigger.condition is None:
            return fits
        met = condition(trigger.condition, fields)
        return met if fits is None else fits & met

    def call(fields: ProbeFields) -> Action:
        assert trigger.run is not None
        return Call(trigger.run, when=when(fields))

    def append(fields: ProbeFields) -> Action:
        assert trigger.gate is not None
        values = stack_values(fields)
        if trigger.histogram is not None:
            values = tuple(trigger.histogram.leaves.values(fields))
        return Append(values, trigger.gate, when=when(fields))

    made: list[MakeAction] = []
    if trigger.run is not None:
        made.append(call)
    if trigger.gate is not None:
        made.append(append)
    histogram = trigger.histogram
    if histogram is not None and histogram.is_immediate:
        made.append(lambda fields: Call(histogram.pull, when=when(fields)))
    return made
