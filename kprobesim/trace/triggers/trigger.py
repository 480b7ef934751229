"""``Trigger``: one trigger of one event (``struct event_trigger_data``)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from kprobesim.sizes import MASK64, signed64
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.filters.nodes import Node
from kprobesim.trace.hist.histogram import Histogram
from kprobesim.trace.hist.text import trigger_text
from kprobesim.trace.triggers.gate import Gate

__all__ = ["UNLIMITED", "Trigger", "TriggerType"]

UNLIMITED = -1


class TriggerType(enum.Enum):
    """What of an event there is only one of at a time (``ETT_*``)."""

    TRACE_ONOFF = enum.auto()
    SNAPSHOT = enum.auto()
    STACKTRACE = enum.auto()
    EVENT_ENABLE = enum.auto()
    EVENT_HIST = enum.auto()
    HIST_ENABLE = enum.auto()


@dataclass(eq=False)
class Trigger:
    """What an event does at a hit.

    Attributes:
        command: The kernel's word for it.
        type: What of its event there is only one of.
        run: Does it, at each hit that its filter is true of; ``None``: it is a histogram.
        count: How often it still does it; -1: always.
        filter_text: Its filter; ``None``: it has none.
        condition: The same, understood.
        target: The event that it is about, where that is not its own.
        histogram: What it counts.
        paused: Whether a histogram does not count.
        gate: Where a histogram's hits are told, and stack traces.
        hist: Of a histogram what was written behind ``hist:``.
    """

    command: str
    type: TriggerType
    run: Callable[[], None] | None = None
    count: int = UNLIMITED
    filter_text: str | None = None
    condition: Node | None = None
    target: TraceEvent | None = None
    histogram: Histogram | None = None
    paused: bool = False
    gate: Gate | None = None
    hist: str = ""

    @property
    def written(self) -> str:
        """What is to be written to have it again, as often as it is still done."""
        if self.histogram is not None:
            return f"hist:{self.hist}"
        count = "" if self.count == UNLIMITED else f":{self.count & MASK64}"
        return f"{self.command}{self._about}{count}{self._if}"

    @property
    def _about(self) -> str:
        return "" if self.target is None else f":{self.target.group}:{self.target.name}"

    @property
    def _if(self) -> str:
        return "" if self.filter_text is None else f" if {self.filter_text}"

    @property
    def is_late(self) -> bool:
        """Whether it comes behind the record of its hit (``EVENT_CMD_FL_POST_TRIGGER``)."""
        return self.command in ("traceoff", "stacktrace")

    @property
    def needs_record(self) -> bool:
        """Whether it can only be done with a record at hand."""
        return self.is_late or self.condition is not None or self.histogram is not None

    def take(self) -> bool:
        """Whether it may be done once more; one that is counted is used up by that."""
        if not self.count:
            return False
        if self.count != UNLIMITED:
            self.count -= 1
        return True

    def pause(self, paused: bool) -> None:
        """Let a histogram stop to count, or go on."""
        assert self.gate is not None
        self.paused = paused
        self.gate.open = not paused

    def __str__(self) -> str:
        """Its line in the file ``trigger``."""
        if self.histogram is not None:
            text, definition = self.filter_text, self.histogram.definition
            return trigger_text(definition, text, paused=self.paused)
        number = signed64(self.count & MASK64)
        count = "unlimited" if number == UNLIMITED else f"count={number}"
        return f"{self.command}{self._about}:{count}{self._if}"
