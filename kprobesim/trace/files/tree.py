"""Which files tracefs has, and where."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.image import KernelImage
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.files.buffer_settings import buffer_settings
from kprobesim.trace.files.choosing import SetEvent, available_events
from kprobesim.trace.files.definitions import DefinitionsFile, ErrorLogFile, profile
from kprobesim.trace.files.events import EventsFolder, Switches
from kprobesim.trace.files.filters import FilterFiles
from kprobesim.trace.files.kprobes import kprobes_folder
from kprobesim.trace.files.marker import FUNCTION as MARKER_FUNCTION
from kprobesim.trace.files.marker import TraceMarker
from kprobesim.trace.files.node import File, Folder, Node, ReadOnly, Table
from kprobesim.trace.files.output import Buffer, TraceFile, TracePipe
from kprobesim.trace.files.per_cpu import per_cpu
from kprobesim.trace.files.pids import PidsFile
from kprobesim.trace.files.printk_formats import printk_formats
from kprobesim.trace.files.saved_tasks import saved_tasks
from kprobesim.trace.files.settings import Options, clock_file
from kprobesim.trace.files.snapshot import SnapshotFile
from kprobesim.trace.files.synthetic import SyntheticFile
from kprobesim.trace.files.tracers import tracer_files
from kprobesim.trace.files.triggers import TriggerFiles
from kprobesim.trace.filters.kernel_facts import KernelFilterFacts
from kprobesim.trace.hist.text import HistText
from kprobesim.trace.image_texts import has_text, kernel_text
from kprobesim.trace.kprobe_events import KprobeEvents
from kprobesim.trace.raw.ftrace_events import FtraceEvent, ftrace_events
from kprobesim.trace.raw.pages import header_event, header_page
from kprobesim.trace.raw.records import Records
from kprobesim.trace.syscall_names import SyscallNames
from kprobesim.trace.tracers.tracers import Tracers
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.triggers.commands import Triggers

__all__ = ["make_tree"]

_README = b"tracing mini-HOWTO:\n"


def make_tree(
    image: KernelImage,
    kprobes: KprobesManager,
    tracing: Tracing,
    tracers: Tracers,
    events: KprobeEvents,
    facts: KernelFilterFacts,
    triggers: Triggers,
    log: ErrorLog,
) -> Folder:
    """The top of tracefs for one kernel.

    Args:
        image: The kernel's.
        kprobes: Its probes.
        tracing: Its tracing.
        tracers: Its tracers.
        events: The events that were defined.
        facts: What its image tells of it.
        triggers: The triggers of its events.
        log: What was refused.
    """
    buffer = Buffer(tracing)
    switches = Switches(tracing, buffer.expand)
    options = Options(tracing, image.version)
    filters = FilterFiles(image, facts, log)
    trigger_files = TriggerFiles(triggers, HistText(image.symbols, SyscallNames(image)))

    synthetic: dict[str, Node] = {}
    if "hist" in triggers.commands:
        synthetic["synthetic_events"] = SyntheticFile(triggers.synthetic)

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
    records = Records(lambda: tracing.events, own, marker.address if marker else 0)
    snapshot = SnapshotFile(image, tracing, buffer.expand)
    nodes: dict[str, Node] = {
        **_about(image, tracers),
        **buffer_settings(tracing),
        **saved_tasks(tracing),
        **tracer_files(tracers, buffer.expand),
        "available_events": ReadOnly(lambda: available_events(tracing)),
        "buffer_size_kb": buffer.size_file(),
        "buffer_total_size_kb": ReadOnly(buffer.total),
        "dynamic_events": DefinitionsFile(events, dynamic=True),
        "error_log": ErrorLogFile(log),
        "events": EventsFolder(tracing, switches, of_event, of_group, own_events),
        "kprobe_events": DefinitionsFile(events),
        "kprobe_profile": ReadOnly(lambda: profile(events)),
        "kprobes": kprobes_folder(kprobes),
        "options": options.folder(),
        "per_cpu": per_cpu(tracing, buffer, records, snapshot),
        **_pids(tracing),
        "printk_formats": ReadOnly(lambda: printk_formats(image)),
        "set_event": SetEvent(tracing, switches),
        "snapshot": snapshot,
        **synthetic,
        "trace": TraceFile(tracing),
        "trace_clock": clock_file(tracing, image.arch, image.version),
        "trace_marker": TraceMarker(tracing),
        "trace_options": options.text_file(),
        "trace_pipe": TracePipe(tracing),
        "tracing_on": buffer.switch_file(),
    }
    return Table(dict(sorted(nodes.items())))


def _about(image: KernelImage, tracers: Tracers) -> dict[str, File]:
    """The files that tell about the kernel."""
    files: dict[str, File] = {}
    text = kernel_text(image, _README)
    if text is not None:
        files["README"] = ReadOnly(lambda: text)
    if has_text(image, "available_filter_functions_addrs"):
        files["available_filter_functions_addrs"] = ReadOnly(tracers.listed.text_with_addresses)
    return files


def _pids(tracing: Tracing) -> dict[str, File]:
    """The files that say which tasks events are recorded of."""
    pids = tracing.pids

    def only(chosen: frozenset[int] | None) -> None:
        pids.only = chosen
        tracing.follow_pids()

    def never(chosen: frozenset[int] | None) -> None:
        pids.never = chosen
        tracing.follow_pids()

    return {
        "set_event_notrace_pid": PidsFile(lambda: pids.never, never),
        "set_event_pid": PidsFile(lambda: pids.only, only),
    }


def _own_event(event: FtraceEvent) -> Table:
    """The folder of an event of the group ``ftrace``."""
    files: dict[str, Node] = {"format": ReadOnly(lambda: event.format)}
    return Table(files)
