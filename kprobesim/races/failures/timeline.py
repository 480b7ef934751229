"""A failing run as a file for Perfetto (ui.perfetto.dev): a track a CPU, a slice a function.

Time is instructions: one is a microsecond, and a CPU that does not run has a gap. What a CPU is in
is read off its accesses to memory, so a function that makes none is not shown, and calls of one
function that follow each other at once are one slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.extras import needed
from kprobesim.hexrepr import HexRepr
from kprobesim.races.lanes.run import Run
from kprobesim.races.run_log import RunLog
from kprobesim.races.seen import Seen

__all__ = ["Timeline"]

_SUFFIX = ".perfetto-trace"
_INSTRUCTION = 1000  # nanoseconds
_SEQUENCE = 1


@dataclass(frozen=True, repr=False)
class _Event(HexRepr):
    """Something on a CPU's track."""

    cpu: int
    time: int
    kind: str
    name: str = ""
    words: tuple[tuple[str, str], ...] = ()


class Timeline:
    """What the CPUs did in one run, as far as its log tells.

    Attributes:
        events: By time: when each CPU begins and ends to be in which function, switches, accesses.
    """

    def __init__(
        self,
        run: Run,
        log: RunLog,
        names: Sequence[str],
        symbolize: Callable[[int], str],
        accesses: Sequence[Seen] = (),
    ) -> None:
        """Look at a run.

        Args:
            run: The run.
            log: Its accesses.
            names: What each CPU's calls are called.
            symbolize: Names an instruction.
            accesses: Those that are shown as instants.
        """
        self._names = names
        self.events = list(_events(run, log, symbolize, accesses))

    def save(self, path: str | Path) -> None:
        """Write the file; raises :class:`UsageError` if it cannot be."""
        path = Path(path)
        if not path.name.endswith(_SUFFIX):
            raise UsageError(f"{path}: a run is saved for Perfetto: name it something{_SUFFIX}")
        protos = needed("perfetto.protos.perfetto.trace.perfetto_trace_pb2", "trace")
        trace = protos.Trace()
        self._begin(trace, protos)
        for event in self.events:
            packet = trace.packet.add()
            packet.trusted_packet_sequence_id = _SEQUENCE
            packet.timestamp = event.time
            track = packet.track_event
            track.type = getattr(protos.TrackEvent, event.kind)
            track.track_uuid = 1 + event.cpu
            if event.name:
                track.name = event.name
            for key, value in event.words:
                note = track.debug_annotations.add()
                note.name, note.string_value = key, value
        try:
            path.write_bytes(trace.SerializeToString())
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    def _begin(self, trace: Any, protos: Any) -> None:
        for cpu, name in enumerate(self._names):
            packet = trace.packet.add()
            packet.trusted_packet_sequence_id = _SEQUENCE
            if not cpu:
                packet.sequence_flags = protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
            packet.track_descriptor.uuid = 1 + cpu
            packet.track_descriptor.name = f"CPU {cpu}: {name}"


def _events(
    run: Run, log: RunLog, symbolize: Callable[[int], str], accesses: Sequence[Seen]
) -> Iterator[_Event]:
    functions = {pc: symbolize(pc).partition("+")[0] for pc in {*log.pcs}}
    places, steps = [functions[pc] for pc in log.pcs], log.steps
    shown = {seen.number: seen for seen in accesses}
    begun = 0
    for number, stretch in enumerate(run.stretches):
        cpu, place, since = stretch.cpu, "", begun
        if number:
            words = (("why", run.stretches[number - 1].why),)
            yield _Event(cpu, begun * _INSTRUCTION, "TYPE_INSTANT", "switch to here", words)
        for at in range(stretch.first, stretch.end):
            function = places[at]
            if function == place and at not in shown:
                continue
            now = begun + steps[at] - stretch.start
            if function != place:
                yield from _close(cpu, place, since, now)
                place, since = function, now
                yield _Event(cpu, now * _INSTRUCTION, "TYPE_SLICE_BEGIN", function)
            if at in shown:
                yield _instant(shown[at], now, symbolize)
        begun += stretch.steps
        yield from _close(cpu, place, since, begun)


def _close(cpu: int, place: str, since: int, now: int) -> Iterator[_Event]:
    if place:
        yield _Event(cpu, max(now, since) * _INSTRUCTION, "TYPE_SLICE_END")


def _instant(seen: Seen, now: int, symbolize: Callable[[int], str]) -> _Event:
    what = "store" if seen.is_store else "load"
    words = [("place", symbolize(seen.pc)), ("address", f"{seen.physical:#x} (physical)")]
    if seen.is_store:
        words.append(("value", f"{seen.value:#x}"))
    name = f"{what} of {seen.size} bytes"
    return _Event(seen.cpu, now * _INSTRUCTION, "TYPE_INSTANT", name, tuple(words))
