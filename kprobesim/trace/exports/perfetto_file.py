"""A trace for Perfetto (ui.perfetto.dev), by its own Python package: a track for each task.

Of a guest with several CPUs there is a track for each of them, too: whose entries came from it.

An entry of a function and the return of the same call are one slice, named for the function; any
other entry is an instant, named for its event. What was fetched are their arguments.
(protos/perfetto/trace/track_event/track_event.proto, Perfetto 52.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About, Export, ProfileRow

__all__ = ["PerfettoFile"]

_SEQUENCE = 1  # trusted_packet_sequence_id: all packets are of one writer
_PROCESSES = 1 << 32  # added to a process's number for the number of its track
_CPUS = 1 << 33  # added to a CPU's number for the number of its track
_MOST_PENDING = 100_000
_SIGNED_BOUND = 1 << 63


@dataclass
class _Pending:
    """An entry whose return may still come, or a return whose entry was found."""

    entry: TraceEntry
    kind: str = "TYPE_INSTANT"


@dataclass
class _Thread:
    """What is not written yet of one task: from the first entry that is open on."""

    pending: list[_Pending] = field(default_factory=list)
    open: list[_Pending] = field(default_factory=list)


class PerfettoFile(Export):
    """The packets, as they come; slices when their outermost call has returned."""

    binary = True
    needs = {"perfetto": "trace"}  # noqa: RUF012

    def __init__(self, file: IO[Any], about: About) -> None:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos
        from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

        self._builder = StreamingTraceProtoBuilder(file)
        self._protos, self._names = protos, about.names
        self._threads: dict[int, _Thread] = defaultdict(_Thread)
        self._told: dict[int, tuple[int, str]] = {}
        self._on_cpus: dict[int, tuple[int, str] | None] = dict.fromkeys(range(about.cpus))
        self._last = 0
        packet = self._packet()
        packet.sequence_flags = protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        system = packet.system_info
        system.utsname.sysname, system.utsname.release = "Linux", about.release
        system.utsname.machine = about.arch
        self._builder.write_packet(packet)
        if about.cpus > 1:
            self._tell_cpus()

    def _packet(self) -> Any:
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet

    def add(self, entry: TraceEntry) -> None:
        if len(self._on_cpus) > 1:
            self._runs(entry.cpu, entry.time, (entry.pid, entry.comm))
        thread = self._threads[entry.pid]
        one = _Pending(entry)
        thread.pending.append(one)
        if entry.func is None:
            thread.open.append(one)
        else:
            self._close(thread, one)
        if len(thread.pending) > _MOST_PENDING:
            thread.open.clear()
        if not thread.open:
            self._flush(thread)

    def _close(self, thread: _Thread, end: _Pending) -> None:
        """The newest open entry of the same function is that of the same call."""
        for at in range(len(thread.open) - 1, -1, -1):
            begin = thread.open[at]
            if begin.entry.ip == end.entry.func:
                begin.kind, end.kind = "TYPE_SLICE_BEGIN", "TYPE_SLICE_END"
                del thread.open[at:]
                return

    def _flush(self, thread: _Thread) -> None:
        for one in thread.pending:
            self._write(one)
        thread.pending.clear()
        thread.open.clear()

    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        for thread in self._threads.values():
            self._flush(thread)
        for cpu in self._on_cpus:
            self._runs(cpu, self._last, None)

    # -- CPUs --------------------------------------------------------------------------------------

    def _tell_cpus(self) -> None:
        for cpu in self._on_cpus:
            packet = self._packet()
            packet.track_descriptor.uuid = _CPUS + cpu
            packet.track_descriptor.name = f"CPU {cpu}"
            self._builder.write_packet(packet)

    def _runs(self, cpu: int, time: int, task: tuple[int, str] | None) -> None:
        """An entry tells which task runs on a CPU; it does until one tells of another."""
        before, self._last = self._on_cpus[cpu], time
        if task == before:
            return
        self._on_cpus[cpu] = task
        for kind, who in (("TYPE_SLICE_END", before), ("TYPE_SLICE_BEGIN", task)):
            if who is None:
                continue
            packet = self._packet()
            packet.timestamp = time
            packet.track_event.type = getattr(self._protos.TrackEvent, kind)
            packet.track_event.track_uuid = _CPUS + cpu
            if who is task:
                packet.track_event.name = f"{who[1]}-{who[0]}"
            self._builder.write_packet(packet)

    # -- packets -----------------------------------------------------------------------------------

    def _tell_task(self, entry: TraceEntry) -> None:
        """Describe the track of the task of ``entry``, and again when its name has changed."""
        if self._told.get(entry.pid) == (entry.tgid, entry.comm):
            return
        if entry.pid and entry.tgid and not any(t == entry.tgid for t, _ in self._told.values()):
            packet = self._packet()
            packet.track_descriptor.uuid = _PROCESSES + entry.tgid
            process = packet.track_descriptor.process
            process.pid = entry.tgid
            if entry.pid == entry.tgid:
                process.process_name = entry.comm
            self._builder.write_packet(packet)
        self._told[entry.pid] = entry.tgid, entry.comm
        packet = self._packet()
        track = packet.track_descriptor
        track.uuid = 1 + entry.pid
        if entry.pid and entry.tgid:
            track.parent_uuid = _PROCESSES + entry.tgid
            track.thread.pid, track.thread.tid = entry.tgid, entry.pid
            track.thread.thread_name = entry.comm
        else:  # Perfetto takes thread 0 for an idle CPU, and hides it
            track.name = f"{entry.comm}-{entry.pid}"
        self._builder.write_packet(packet)

    def _write(self, one: _Pending) -> None:
        entry = one.entry
        self._tell_task(entry)
        packet = self._packet()
        packet.timestamp = entry.time
        event = packet.track_event
        event.type = getattr(self._protos.TrackEvent, one.kind)
        event.track_uuid = 1 + entry.pid
        if one.kind != "TYPE_SLICE_END":
            event.categories.append(entry.group)
            event.name = entry.name
        if one.kind == "TYPE_SLICE_BEGIN":
            event.name = self._names.at(entry.ip, exact=True)[-1].function
        place = self._names.at(entry.ip, exact=entry.func is None)[-1].place
        words = {"place": place} if entry.func is None else {"returns to": place}
        for name, value in {**words, **entry.fields}.items():
            _annotate(event.debug_annotations.add(), name, value)
        if entry.stack is not None and one.kind != "TYPE_SLICE_END":
            frames = tuple(str(frame) for frame in self._names.of(entry))
            _annotate(event.debug_annotations.add(), "stack", frames)
        self._builder.write_packet(packet)


def _annotate(annotation: Any, name: str, value: Any) -> None:
    annotation.name = name
    if isinstance(value, tuple):
        for one in value:
            _set(annotation.array_values.add(), one)
        return
    _set(annotation, value)


def _set(annotation: Any, value: int | str) -> None:
    if isinstance(value, str):
        annotation.string_value = value.encode("utf-8", "replace").decode("utf-8")
    elif value >= _SIGNED_BOUND:  # its SQL has signed numbers only; a pointer is shown in hex
        annotation.pointer_value = value
    else:
        annotation.int_value = value
