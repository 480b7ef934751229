"""The files of one buffer: at the top of tracefs, and in each folder of ``instances/``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kprobesim.image import KernelImage
from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.files.buffer_settings import buffer_settings
from kprobesim.trace.files.choosing import SetEvent
from kprobesim.trace.files.definitions import ErrorLogFile
from kprobesim.trace.files.events import EventsFolder, Switches
from kprobesim.trace.files.filters import FilterFiles
from kprobesim.trace.files.marker import FUNCTION as MARKER_FUNCTION
from kprobesim.trace.files.marker import TraceMarker
from kprobesim.trace.files.node import File, Node, ReadOnly, Table
from kprobesim.trace.files.output import Buffer, TraceFile, TracePipe
from kprobesim.trace.files.per_cpu import per_cpu
from kprobesim.trace.files.pids import PidsFile
from kprobesim.trace.files.settings import Options, clock_file
from kprobesim.trace.files.snapshot import SnapshotFile
from kprobesim.trace.files.triggers import TriggerFiles
from kprobesim.trace.filters.kernel_facts import KernelFilterFacts
from kprobesim.trace.hist.text import HistText
from kprobesim.trace.raw.ftrace_events import FtraceEvent, ftrace_events
from kprobesim.trace.raw.pages import header_event, header_page
from kprobesim.trace.raw.records import Records
from kprobesim.trace.trace_array import TraceArray
from kprobesim.trace.triggers.commands import Triggers

__all__ = ["KernelParts", "array_files"]


@dataclass(frozen=True, eq=False)
class KernelParts:
    """What the files of all buffers need.

    Attributes:
        image: The kernel's.
        facts: What its image tells of it.
        log: What was refused.
        hist: Shows histograms.
    """

    image: KernelImage
    facts: KernelFilterFacts
    log: ErrorLog
    hist: HistText


def array_files(
    array: TraceArray, buffer: Buffer, triggers: Triggers, parts: KernelParts
) -> dict[str, Node]:
    """The files, by name.

    Args:
        array: The buffer, and what is recorded into it.
        buffer: Its size.
        triggers: The triggers of its events.
        parts: What there is once.
    """
    image = parts.image
    switches = Switches(array, buffer.expand)
    options = Options(array, image.version)
    filters = FilterFiles(image, parts.facts, parts.log)
    trigger_files = TriggerFiles(triggers, parts.hist)

    def of_event(event: TraceEvent) -> dict[str, File]:
        return {"filter": filters.of_event(event), **trigger_files.of_event(event)}

    def of_group(events: Callable[[], list[TraceEvent]]) -> dict[str, File]:
        return {"filter": filters.of_group(events)}

    own = ftrace_events(image)
    own_events: dict[str, Node] = {
        "header_event": ReadOnly(header_event),
        "header_page": ReadOnly(lambda: header_page(image)),
        "ftrace": Table({event.name: _own_event(event) for event in own.values()}),
    }
    marker = image.symbols.get(MARKER_FUNCTION)
    records = Records(lambda: array.events, own, marker.address if marker else 0)
    snapshot = SnapshotFile(image, array, buffer.expand)
    return {
        **buffer_settings(array, parts.facts.cpu_bits),
        **_pids(array),
        "buffer_size_kb": buffer.size_file(),
        "buffer_total_size_kb": ReadOnly(buffer.total),
        "error_log": ErrorLogFile(parts.log),
        "events": EventsFolder(array, switches, of_event, of_group, own_events),
        "options": options.folder(),
        "per_cpu": per_cpu(array, buffer, records, snapshot),
        "set_event": SetEvent(array, switches),
        "snapshot": snapshot,
        "trace": TraceFile(array),
        "trace_clock": clock_file(array, image.arch, image.version),
        "trace_marker": TraceMarker(array),
        "trace_options": options.text_file(),
        "trace_pipe": TracePipe(array),
        "tracing_on": buffer.switch_file(),
    }


def _pids(array: TraceArray) -> dict[str, File]:
    """The files that say which tasks events are recorded of."""
    pids = array.pids

    def only(chosen: frozenset[int] | None) -> None:
        pids.only = chosen
        array.follow_pids()

    def never(chosen: frozenset[int] | None) -> None:
        pids.never = chosen
        array.follow_pids()

    return {
        "set_event_notrace_pid": PidsFile(lambda: pids.never, never),
        "set_event_pid": PidsFile(lambda: pids.only, only),
    }


def _own_event(event: FtraceEvent) -> Table:
    """The folder of an event of the group ``ftrace``."""
    files: dict[str, Node] = {"format": ReadOnly(lambda: event.format)}
    return Table(files)
