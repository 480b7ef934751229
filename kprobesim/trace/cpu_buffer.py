"""``CpuBuffer``: what one CPU has written into a trace (``struct ring_buffer_per_cpu``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from kprobesim.garbage import no_garbage
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.pages import DEFAULT_KB, Pages
from kprobesim.trace.recorded import Recorded
from kprobesim.trace.tracers.recording import RecordedCall

__all__ = ["CpuBuffer", "Record", "Records"]

Record = Recorded | RecordedCall


class Records(Protocol):
    """Where records come from."""

    def fetch(self) -> Iterable[tuple[Record | TraceEntry, int, int, int]]:
        """What came since the last time, each with its bytes in the kernel, its time and CPU."""

    def forget(self) -> None:
        """Forget that."""

    def make(self, records: Iterable[Record | TraceEntry]) -> list[TraceEntry]:
        """The entries of records, and what are entries already."""


class Whole(Protocol):
    """The buffer of all CPUs."""

    @property
    def source(self) -> Records:
        """Where records come from."""

    def pull(self) -> None:
        """Fetch what has been recorded."""


class CpuBuffer:
    """Entries, the oldest first, as many as its size allows.

    What compiled code has recorded is made entries of when somebody looks at it.

    Attributes:
        number: The CPU's.
        written: How many entries were ever written.
        overrun: How many of them were given up for newer ones.
        dropped: How many found no room.
    """

    def __init__(self, whole: Whole, number: int, kb: int | None = DEFAULT_KB) -> None:
        """That of CPU ``number`` in ``whole``, empty; ``kb``: how much it holds, in KiB."""
        self._whole, self.number = whole, number
        self.written = self.overrun = self.dropped = 0
        self._told = 0  # of what was given up
        self._entries: deque[TraceEntry | Record] = deque()
        self._pages = Pages(kb)

    @property
    def cpus(self) -> tuple[CpuBuffer, ...]:
        """The parts that it has: itself."""
        return (self,)

    @property
    def kb(self) -> int | None:
        """How much it holds, in KiB, as ``buffer_size_kb`` says; ``None``: all that comes."""
        return self._pages.kb

    @kb.setter
    def kb(self, kb: int | None) -> None:
        """Another size: the buffer is empty then, as the kernel's when it is made anew."""
        self.clear()
        self._pages.kb = kb

    @property
    def overwrite(self) -> bool:
        """Whether the oldest entries are given up for new ones; else new ones are dropped."""
        return self._pages.overwrite

    @overwrite.setter
    def overwrite(self, overwrite: bool) -> None:
        self._pages.overwrite = overwrite

    @property
    def used(self) -> int:
        """Bytes that the entries take in the kernel's ring buffer."""
        self._whole.pull()
        return self._pages.used

    def put(self, entry: TraceEntry | Record, size: int, time: int) -> None:
        """Write ``entry``, whose record has ``size`` bytes in the kernel, behind all others."""
        fits, lost = self._pages.add(size, time)
        if not fits:
            self.dropped += 1
            return
        if lost:
            for _ in range(min(lost, len(self._entries))):
                self._entries.popleft()
            self.overrun += lost
        self.written += 1
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget all entries, as a write to ``trace`` does."""
        self._whole.pull()
        self._entries.clear()
        self._pages.clear()
        self.written = self.overrun = self.dropped = self._told = 0

    def exchange(self, other: CpuBuffer) -> None:
        """Take the entries of ``other``, and give it the own ones."""
        for name in ("_entries", "_pages", "written", "overrun", "dropped", "_told"):
            mine = getattr(self, name)
            setattr(self, name, getattr(other, name))
            setattr(other, name, mine)

    def __iter__(self) -> Iterator[TraceEntry]:
        self._whole.pull()
        with no_garbage():
            entries = self._whole.source.make(self._entries)
        self._entries.clear()
        self._entries.extend(entries)
        return iter(entries)

    def __len__(self) -> int:
        self._whole.pull()
        return len(self._entries)

    def first(self) -> TraceEntry | None:
        """The oldest entry, which stays; ``None``: there is none."""
        self._whole.pull()
        if not self._entries:
            return None
        (entry,) = self._whole.source.make([self._entries[0]])
        self._entries[0] = entry
        return entry

    def take(self) -> None:
        """The oldest entry is read, and gone."""
        self._entries.popleft()
        self._pages.take()

    def take_all(self) -> None:
        """All entries are read, and gone."""
        self._entries.clear()
        self._pages.clear()

    def consume(self) -> Iterator[TraceEntry]:
        """Take the entries out one by one, as ``trace_pipe`` does."""
        while (entry := self.first()) is not None:
            self.take()
            yield entry

    def lost(self) -> int:
        """How many entries were given up since somebody asked."""
        self._whole.pull()
        lost, self._told = self.overrun - self._told, self.overrun
        return lost

    def __repr__(self) -> str:
        return f"<CpuBuffer {self.number} of {len(self._entries)} entries, {self.written} written>"
