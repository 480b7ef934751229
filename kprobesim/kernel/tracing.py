"""``TracingVerbs``: a kernel's dynamic events, and tracefs, whose files define and show them."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.kernel.programs import ProgramVerbs
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.machine.system import System

if TYPE_CHECKING:  # who traces nothing needs none of it
    from kprobesim.bridges.fuse import Mount
    from kprobesim.trace.error_log import ErrorLog
    from kprobesim.trace.kprobe_events import KprobeEvents
    from kprobesim.trace.tracefs import Tracefs
    from kprobesim.trace.tracing import Tracing

__all__ = ["TracingVerbs"]


class TracingVerbs(ProgramVerbs):
    """What of :class:`~kprobesim.kernel.base.Kernel` traces as the kernel's own tracing does."""

    kprobes: KprobesManager
    machine: System
    image: KernelImage

    @cached_property
    def tracing(self) -> Tracing:
        """Its trace events, and what they record."""
        from kprobesim.trace.tracing import Tracing

        return Tracing(self.kprobes, self._programs, self.tasks, self.image)

    @cached_property
    def tracefs(self) -> Tracefs:
        """The files of ``/sys/kernel/tracing``, and ``kprobes/`` of debugfs.

        What is written to them plants probes of ours, beside what the guest itself may do with its
        own tracefs.

        >>> k.tracefs["kprobe_events"].append("p vfs_read")
        """
        from kprobesim.trace.files.tree import make_tree
        from kprobesim.trace.tracefs import Tracefs

        tree = make_tree(
            self.image,
            self.kprobes,
            self.tracing,
            self.kprobe_events,
            self._error_log,
            self.machine.clock.now,
        )
        return Tracefs(tree, self.machine.turn.short, _mount)

    @cached_property
    def kprobe_events(self) -> KprobeEvents:
        """The events that ``kprobe_events`` lists: ``.command(line)`` is a line written to it."""
        from kprobesim.trace.kernel_facts import ImageFacts
        from kprobesim.trace.kprobe_events import KprobeEvents
        from kprobesim.trace.registrar import TracingRegistrar

        kprobes = self.kprobes
        registrar = TracingRegistrar(self.tracing, kprobes.rules, kprobes.return_probes)
        facts = ImageFacts(kprobes.rules, self.image, self.machine.memory.read)
        return KprobeEvents(facts, registrar, self._error_log)

    @cached_property
    def _error_log(self) -> ErrorLog:
        from kprobesim.trace.error_log import ErrorLog

        return ErrorLog(self.machine.clock.now)


def _mount(tracefs: Tracefs, path: str | os.PathLike[str], allow_other: bool) -> Mount:
    from kprobesim.bridges.fuse import Mount

    return Mount(tracefs, path, allow_other=allow_other)
