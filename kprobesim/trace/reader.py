"""``Reader``: makes entries of what the programs of events have recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any

from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.programs.context import ids_of
from kprobesim.programs.stores.entry_layout import HEADER, Stamp
from kprobesim.programs.stores.stacks import Stacks
from kprobesim.programs.stores.stream import Stream
from kprobesim.trace.context import ContextOf
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.record import RecordLayout
from kprobesim.trace.recorded import Recorded, Source
from kprobesim.trace.saved_cmdlines import SavedCmdlines
from kprobesim.trace.showing import Naming
from kprobesim.trace.stack_traces import STACK_BYTES, StackTraces
from kprobesim.trace.tracers.recording import CallRecord, RecordedCall
from kprobesim.trace.ways import Ways

__all__ = ["Reader"]

_CONTEXTS = 1 << 12  # that are kept: there are few


class Reader:
    """Reads the stream of one kernel's events.

    Attributes:
        show: Makes the text of an entry of an event.
        stack_traces: What knows the entries that are stack traces.
        calls: What is known of those that tracers have recorded, by their numbers.
    """

    def __init__(
        self,
        stream: Stream,
        saved: SavedCmdlines,
        ways: Ways,
        context: ContextOf | None,
        stacks: Stacks,
        name: Naming,
    ) -> None:
        """Nothing is known yet.

        Args:
            stream: Where records come from.
            saved: The names of tasks, some of which come from there, too.
            ways: How a kernel would have come to each probe.
            context: Tells in which context; ``None``: in none.
            stacks: What numbers of stacks stand for.
            name: Names addresses.
        """
        self.show: Callable[[TraceEvent, TraceEntry], str] = lambda event, entry: str(entry)
        self._stream, self._saved, self._ways = stream, saved, ways
        self._context, self._stacks, self._name = context, stacks, name
        self._known: dict[int, tuple[TraceEvent, RecordLayout, Kprobe, bool]] = {}
        self._at = cache(self._find_context)
        self.stack_traces: StackTraces | None = None
        self.calls: dict[int, CallRecord] = {}

    def know(
        self,
        number: int,
        event: TraceEvent,
        layout: RecordLayout,
        p: Kprobe,
        *,
        in_action: bool = False,
    ) -> None:
        """Entries of that ``number`` are of ``event``, and ``p`` is hit.

        Args:
            number: What the records say of themselves.
            event: The event.
            layout: What they mean.
            p: The probe.
            in_action: An action of a hist trigger of another event records them.
        """
        self._known[number] = event, layout, p, in_action
        self._ways.measure(p)

    def fetch(self) -> Iterator[tuple[Recorded | RecordedCall | TraceEntry, int, int, int]]:
        """What has been recorded since the last time: its size in the kernel, time and CPU."""
        sources, new = dict[int, Source](), tuple.__new__
        names, traces = self._saved.number, self.stack_traces
        for written in [*self._stream.take()]:
            number, data, at, stamp, time = written
            if number == names:
                self._save(data, at)
                continue
            if traces is not None and number in traces:
                values = self._stream.layout(number).unpack(data, at)
                entry = traces.entry(number, time, stamp, values)
                yield entry, STACK_BYTES, time, stamp.cpu
                continue
            call = self.calls.get(number)
            if call is not None:
                found = call.take(written)
                if found is not None:
                    yield *found, stamp.cpu
                continue
            source = sources.get(number)
            if source is None:
                source = sources[number] = self._source(number)
            one = new(Recorded, (source, data, at, stamp, time))
            yield one, source.size or one.size(self._name), time, stamp.cpu

    def forget(self) -> None:
        """Of what has been recorded since the last time, only the names of tasks count."""
        names = self._saved.number
        for number, data, at, *_ in self._stream.take():
            if number == names:
                self._save(data, at)

    def _save(self, data: bytes, at: int) -> None:
        self._saved.keep(self._stream.layout(self._saved.number).unpack(data, at))

    def _source(self, number: int) -> Source:
        event, layout, p, in_action = self._known[number]
        return Source(
            event,
            event.full_name,
            layout,
            self._stream.layout(number),
            p.addr or 0,
            self.contexts(p, in_action=in_action),
            partial(self.show, event),
            layout.fixed if layout.is_fixed else 0,
        )

    def contexts(self, p: Kprobe, *, in_action: bool = False) -> Callable[[int], tuple[int, int]]:
        """What tells ``common_flags`` and ``common_preempt_count`` of a hit by its "context"."""
        if self._context is None:
            return lambda word: (0, 0)
        return partial(self._at, self._ways.of(p), in_action)

    def _find_context(self, way: Any, in_action: bool, word: int) -> tuple[int, int]:
        assert self._context is not None
        return self._context.at(word, way, in_action=in_action)

    def make(self, records: Iterable[Recorded | RecordedCall | TraceEntry]) -> list[TraceEntry]:
        """The entries of records; their tasks have the names that were saved last."""
        entries = list[TraceEntry]()
        common = dict[tuple[int, int], dict[str, Any]]()
        made, name, of = entries.append, self._name, TraceEntry.of
        for one in records:
            if not isinstance(one, Recorded):
                made(one.entry() if isinstance(one, RecordedCall) else one)
                continue
            source, data, at, stamp, time = one
            key = id(source), id(stamp)
            shared = common.get(key)
            if shared is None:
                shared = common[key] = self._common(source, stamp)
            layout, plain = source.layout, source.entry_layout.unpack_plain
            if plain is not None:
                values: Sequence[Any] = plain(data, at + HEADER)
            else:
                values = source.entry_layout.unpack(data, at)
            entry = shared.copy()
            entry["time"], entry["fields"] = time, layout.fields(values, name)
            if layout.definition.returns:
                entry["ip"] = values[0]
            if layout.stacks:
                entry["stack"] = self._stacks.get(values[-1])
            made(of(entry))
        return entries

    def _common(self, source: Source, stamp: Stamp) -> dict[str, Any]:
        """What entries of one source have in common behind a stamp."""
        pid, tgid = ids_of(stamp.ids)
        flags, preempt_count = source.context(stamp.context)
        return {
            "time": stamp.now,
            "cpu": stamp.cpu,
            "pid": pid,
            "tgid": tgid,
            "comm": self._saved[pid],
            "flags": flags,
            "preempt_count": preempt_count,
            "event": source.name,
            "ip": source.address,
            "func": source.address if source.layout.definition.returns else None,
            "fields": {},
            "stack": None,
            "show": source.show,
        }
