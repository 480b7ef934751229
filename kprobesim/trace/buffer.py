"""``TraceBuffer``: the entries of all events, in the order of their coming, of all CPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from operator import attrgetter

from kprobesim.garbage import no_garbage
from kprobesim.trace.cpu_buffer import CpuBuffer, Record, Records
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.pages import DEFAULT_KB

__all__ = ["TraceBuffer"]

_HEAD = 8  # struct trace_entry
_ALL = -1
_BY_TIME = attrgetter("time")


class _Still:
    """Makes entries of old records, and has no new ones."""

    def __init__(self, source: Records) -> None:
        self.make = source.make

    def fetch(self) -> Iterable[tuple[Record | TraceEntry, int, int, int]]:
        return ()

    def forget(self) -> None:
        return None


class TraceBuffer:
    """Entries, the oldest first: each CPU has a buffer of its own, and as many as that allows.

    What compiled code has recorded is fetched when somebody looks, and made entries of when
    somebody looks at those.

    Attributes:
        source: Where records come from.
        mask: Of which CPUs entries are written, a bit for each.
    """

    def __init__(self, source: Records, kb: int | None = DEFAULT_KB, cpus: int = 1) -> None:
        """Empty.

        Args:
            source: Where records come from.
            kb: How much it holds for each CPU, in KiB.
            cpus: How many CPUs there are; if one is added, it gets a buffer.
        """
        self.source = source
        self.mask = _ALL
        self._kb = kb
        self._cpus = [CpuBuffer(self, number, kb) for number in range(cpus)]

    @property
    def cpus(self) -> tuple[CpuBuffer, ...]:
        """What each CPU has written, by its number."""
        return tuple(self._cpus)

    def _of_cpu(self, number: int) -> CpuBuffer:
        while number >= len(self._cpus):
            self._cpus.append(CpuBuffer(self, len(self._cpus), self._kb))
        return self._cpus[number]

    @property
    def kb(self) -> int | None:
        """How much it holds for each CPU, in KiB: the most, where they differ; ``None``: all."""
        sizes = [each.kb for each in self._cpus]
        return max((kb for kb in sizes if kb is not None), default=None)

    @kb.setter
    def kb(self, kb: int | None) -> None:
        """Another size: the buffer is empty then, as the kernel's when it is made anew."""
        self.clear()
        self._kb = kb
        for each in self._cpus:
            each.kb = kb

    @property
    def overwrite(self) -> bool:
        """Whether the oldest entries are given up for new ones; else new ones are dropped."""
        return self._cpus[0].overwrite

    @overwrite.setter
    def overwrite(self, overwrite: bool) -> None:
        self.pull()
        for each in self._cpus:
            each.overwrite = overwrite

    @property
    def written(self) -> int:
        """How many entries were ever written."""
        return sum(each.written for each in self._cpus)

    @property
    def overrun(self) -> int:
        """How many of them were given up for newer ones."""
        return sum(each.overrun for each in self._cpus)

    @property
    def dropped(self) -> int:
        """How many found no room."""
        return sum(each.dropped for each in self._cpus)

    @property
    def used(self) -> int:
        """Bytes that the entries take in the kernel's ring buffer."""
        return sum(each.used for each in self._cpus)

    def append(self, entry: TraceEntry, size: int = _HEAD) -> None:
        """Write ``entry``, whose record has ``size`` bytes in the kernel, behind all others."""
        self.pull()
        if self.mask >> entry.cpu & 1:
            self._of_cpu(entry.cpu).put(entry, size, entry.time)

    def pull(self) -> None:
        """Fetch what has been recorded."""
        cpus, mask = self._cpus, self.mask
        with no_garbage():
            for recorded, size, time, cpu in self.source.fetch():
                if mask >> cpu & 1:
                    of_cpu = cpus[cpu] if cpu < len(cpus) else self._of_cpu(cpu)
                    of_cpu.put(recorded, size, time)

    def clear(self) -> None:
        """Forget all entries, as a write to ``trace`` does."""
        self.source.forget()
        for each in self._cpus:
            each.clear()

    def spare(self) -> TraceBuffer:
        """Another one of the same size, in which nothing is recorded."""
        return TraceBuffer(_Still(self.source), self._kb, len(self._cpus))

    def exchange(self, other: TraceBuffer) -> None:
        """Take the entries of ``other``, and give it the own ones."""
        self.pull()
        for number, mine in enumerate(self._cpus):
            mine.exchange(other._of_cpu(number))

    def __iter__(self) -> Iterator[TraceEntry]:
        if len(self._cpus) == 1:
            return iter(self._cpus[0])
        return merge(*map(iter, self._cpus), key=_BY_TIME)

    def __len__(self) -> int:
        return sum(map(len, self._cpus))

    def consume(self) -> Iterator[TraceEntry]:
        """Take the entries out one by one, as ``trace_pipe`` does."""
        while (found := self._oldest()) is not None:
            entry, of_cpu = found
            of_cpu.take()
            yield entry

    def _oldest(self) -> tuple[TraceEntry, CpuBuffer] | None:
        firsts = ((each.first(), each) for each in self._cpus)
        there = [(entry, each) for entry, each in firsts if entry is not None]
        return min(there, key=lambda pair: pair[0].time, default=None)

    def take_all(self) -> list[TraceEntry]:
        """Take all entries out, as they are now."""
        entries = [*self]
        for each in self._cpus:
            each.take_all()
        return entries

    def __repr__(self) -> str:
        return f"<TraceBuffer of {len(self._cpus)} CPUs, {self.written} written>"
