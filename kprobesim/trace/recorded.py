"""What programs have recorded, as bytes: entries are made of it when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kprobesim.hexrepr import HexRepr
from kprobesim.programs.stores.stream import HEADER, EntryLayout
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.record import RecordLayout
from kprobesim.trace.showing import Naming

__all__ = ["Recorded", "Source"]

_TIME = slice(HEADER, HEADER + 8)  # the first of all values


@dataclass(frozen=True, slots=True, repr=False)
class Source(HexRepr):
    """Where records come from: a probe, as it was when they were fetched.

    Attributes:
        event: Its event.
        layout: What its records mean.
        entry_layout: How they lie.
        address: Where the probe is.
        context: Tells flags and depth of a hit by its fact "context".
    """

    event: TraceEvent
    layout: RecordLayout
    entry_layout: EntryLayout
    address: int
    context: Callable[[int], tuple[int, int]]


class Recorded:
    """One record."""

    __slots__ = ("_data", "source")

    def __init__(self, source: Source, data: bytes) -> None:
        self.source = source
        self._data = data

    @property
    def time(self) -> int:
        """Nanoseconds of the guest's own time."""
        return int.from_bytes(self._data[_TIME], "little")

    @property
    def values(self) -> list[Any]:
        """What was recorded."""
        return self.source.entry_layout.unpack(memoryview(self._data), 0)

    def size(self, name: Naming) -> int:
        """Bytes of the record in the kernel."""
        layout = self.source.layout
        if layout.is_fixed:
            return layout.fixed
        return layout.size(layout.fields(self.values, name))
