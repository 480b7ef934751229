"""What programs have recorded, as bytes: entries are made of it when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from kprobesim.hexrepr import HexRepr
from kprobesim.programs.stores.entry_layout import EntryLayout, Stamp
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.record import RecordLayout
from kprobesim.trace.showing import Naming

__all__ = ["Recorded", "Source"]


@dataclass(frozen=True, slots=True, repr=False)
class Source(HexRepr):
    """Where records come from: a probe, as it was when they were fetched.

    Attributes:
        event: Its event.
        name: That event's name, with its group.
        layout: What its records mean.
        entry_layout: How they lie.
        address: Where the probe is.
        context: Tells flags and depth of a hit by its fact "context".
        show: Makes the text of an entry.
        size: Bytes of a record in the kernel; 0: each has its own.
    """

    event: TraceEvent
    name: str
    layout: RecordLayout
    entry_layout: EntryLayout
    address: int
    context: Callable[[int], tuple[int, int]]
    show: Callable[[TraceEntry], str]
    size: int


class Recorded(NamedTuple):
    """One record.

    Attributes:
        source: Where it comes from.
        data: Where it lies among others.
        at: Where it begins there.
        stamp: Who was running.
        time: Nanoseconds of the guest's own time.
    """

    source: Source
    data: bytes
    at: int
    stamp: Stamp
    time: int

    @property
    def values(self) -> list[Any]:
        """What was recorded."""
        return self.source.entry_layout.unpack(self.data, self.at)

    def size(self, name: Naming) -> int:
        """Bytes of the record in the kernel."""
        layout = self.source.layout
        return layout.size(layout.fields(self.values, name))
