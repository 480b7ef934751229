"""Which files tracefs has, and where."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.trace.dynamic_events import DynamicEvents
from kprobesim.trace.error_log import ErrorLog
from kprobesim.trace.files.array import KernelParts, array_files
from kprobesim.trace.files.choosing import available_events
from kprobesim.trace.files.definitions import DefinitionsFile, profile
from kprobesim.trace.files.instances import InstancesFolder
from kprobesim.trace.files.kprobes import kprobes_folder
from kprobesim.trace.files.node import File, Folder, Node, ReadOnly, Table
from kprobesim.trace.files.output import Buffer
from kprobesim.trace.files.printk_formats import printk_formats
from kprobesim.trace.files.saved_tasks import saved_tasks
from kprobesim.trace.files.synthetic import SyntheticFile
from kprobesim.trace.files.tracers import tracer_files
from kprobesim.trace.filters.kernel_facts import KernelFilterFacts
from kprobesim.trace.hist.text import HistText
from kprobesim.trace.image_texts import has_text, kernel_text
from kprobesim.trace.kprobe_events import KprobeEvents
from kprobesim.trace.syscall_names import SyscallNames
from kprobesim.trace.tracers.tracers import Tracers
from kprobesim.trace.tracing import Tracing
from kprobesim.trace.triggers.by_array import TriggersByArray

__all__ = ["make_tree"]

_README = b"tracing mini-HOWTO:\n"


def make_tree(
    image: KernelImage,
    kprobes: KprobesManager,
    tracing: Tracing,
    tracers: Tracers,
    events: KprobeEvents,
    dynamic: DynamicEvents,
    facts: KernelFilterFacts,
    triggers: TriggersByArray,
    log: ErrorLog,
) -> Folder:
    """The top of tracefs for one kernel.

    Args:
        image: The kernel's.
        kprobes: Its probes.
        tracing: Its tracing.
        tracers: Its tracers.
        events: The events that were defined.
        dynamic: The same, and synthetic ones.
        facts: What its image tells of it.
        triggers: The triggers of the events at the top, or of an instance's.
        log: What was refused.
    """
    parts = KernelParts(image, facts, log, HistText(image.symbols, SyscallNames(image)))
    buffer = Buffer(tracing)
    synthetic: dict[str, Node] = {}
    if triggers.synthetic is not None:
        synthetic["synthetic_events"] = SyntheticFile(triggers.synthetic)

    nodes: dict[str, Node] = {
        **array_files(tracing, buffer, triggers.top, parts),
        **_about(image, tracers),
        **saved_tasks(tracing),
        **tracer_files(tracers, buffer.expand),
        "available_events": ReadOnly(lambda: available_events(tracing)),
        "dynamic_events": DefinitionsFile(dynamic),
        "instances": InstancesFolder(tracing, parts, triggers),
        "kprobe_events": DefinitionsFile(events),
        "kprobe_profile": ReadOnly(lambda: profile(events)),
        "kprobes": kprobes_folder(kprobes, image.version),
        "printk_formats": ReadOnly(lambda: printk_formats(image)),
        **synthetic,
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
