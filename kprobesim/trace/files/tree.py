"""Which files tracefs has, and where."""

from __future__ import annotations

from kprobesim.image import KernelImage
from kprobesim.kprobes.manager import KprobesManager
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
from kprobesim.trace.instance import Instance
from kprobesim.trace.kprobe_events import KprobeEvents
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
    parts = KernelParts(image, facts, log, HistText(image.symbols, SyscallNames(image)))
    buffer = Buffer(tracing)

    def triggers_of(instance: Instance) -> Triggers:
        return Triggers(instance, facts, log, triggers.synthetic, triggers.commands)

    synthetic: dict[str, Node] = {}
    if "hist" in triggers.commands:
        synthetic["synthetic_events"] = SyntheticFile(triggers.synthetic)

    nodes: dict[str, Node] = {
        **array_files(tracing, buffer, triggers, parts),
        **_about(image, tracers),
        **saved_tasks(tracing),
        **tracer_files(tracers, buffer.expand),
        "available_events": ReadOnly(lambda: available_events(tracing)),
        "dynamic_events": DefinitionsFile(events, dynamic=True),
        "instances": InstancesFolder(tracing, parts, triggers_of),
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
