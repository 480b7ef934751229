"""``TracingVerbs``: a kernel's dynamic events, and tracefs, whose files define and show them."""

from __future__ import annotations

import os
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from kprobesim.errors import KprobesimError, SymbolError, UsageError
from kprobesim.image import KernelImage
from kprobesim.kernel.programs import ProgramVerbs
from kprobesim.machine.system import System

if TYPE_CHECKING:  # who traces nothing needs none of it
    from kprobesim.bridges.fuse import Mount
    from kprobesim.kprobes.manager import KprobesManager
    from kprobesim.trace.dynamic_events import DynamicEvents
    from kprobesim.trace.error_log import ErrorLog
    from kprobesim.trace.filters.kernel_facts import KernelFilterFacts
    from kprobesim.trace.kprobe_events import KprobeEvents
    from kprobesim.trace.saved_tracing import TracingStore
    from kprobesim.trace.session import Trace
    from kprobesim.trace.tracefs import Tracefs
    from kprobesim.trace.tracers.tracers import Tracers
    from kprobesim.trace.tracing import Tracing
    from kprobesim.trace.triggers.by_array import TriggersByArray
    from kprobesim.trace.wanted import Wanted

__all__ = ["TracingVerbs"]


class TracingVerbs(ProgramVerbs):
    """What of :class:`~kprobesim.kernel.base.Kernel` traces as the kernel's own tracing does."""

    kprobes: KprobesManager
    machine: System
    image: KernelImage

    boots: ClassVar[bool] = False
    """Whether the kernel runs by itself."""

    @abstractmethod
    def at_line(self, where: str, *, debug: str | os.PathLike[str] | None = None) -> list[str]:
        """The places of a source line."""

    def trace(
        self,
        *events: str | tuple[str, str] | Wanted,
        filter: str | None = None,
        stack: bool = False,
        limit: int | None = None,
        debug: str | os.PathLike[str] | None = None,
    ) -> Trace:
        """Trace events for the time of a ``with`` block.

        >>> with k.trace("p crc32_le len=%dx:u64", "r crc32_le ret=$retval:x32") as trace:
        ...     k.call("crc32_le", 0, "123456789", 9)
        >>> for entry in trace:
        ...     print(entry.time, entry.event, entry.fields)

        Functions that ftrace cannot trace, as those in lib/, may be traced, too, which most kernels
        refuse: give ``strict=True`` to the kernel to have them refused here. The buffer of
        :attr:`tracing` is the trace's meanwhile, also for entries of other events.

        Args:
            *events: Definitions as ``kprobe_events`` takes them, or pairs of one and a filter. The
                place may also be a line of the source, ``fs/open.c:1390``, which is a probe at each
                place of its code, or a pattern, ``vfs_*``, which is an event for each function.
            filter: What is recorded of events without a filter of their own, as the file
                ``filter`` of an event takes it: ``'len > 3 && comm == "sh"'``; by default all.
            stack: Whether each entry gets the stack of its callers.
            limit: How many entries are kept: the first ones; 0: hits are only counted. By default
                all.
            debug: The vmlinux with the debug information, or a package that has it: stacks then
                have inlined functions and lines. By default the image's own file is looked into.

        Returns:
            The entries; the block begins it.

        Raises:
            UsageError: ``events`` are no definitions; or ``limit`` is no number.
            ImageError: ``debug`` has no debug information, or is of another build.

        What defining the events raises, the block does: :class:`ProbeEventError` for a definition
        that the kernel refuses and :class:`FilterError` for a filter, each with its errno and the
        words of its ``error_log``.
        """
        from kprobesim.stack.orc import CodePlace
        from kprobesim.stack.walk import StackWalker
        from kprobesim.trace.filters.event_filter import apply_filter
        from kprobesim.trace.frames import StackNames
        from kprobesim.trace.session import Trace, Traced
        from kprobesim.trace.wanted import Places, wanted_of

        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise UsageError(f"limit {limit!r}: give a number of entries")
        wanted, walker = wanted_of(events, filter), StackWalker(self.machine, self.image)
        lines, facts = None, self._filter_facts
        if stack:
            from kprobesim.functions.dwarf.source_lines import open_source_lines

            lines = open_source_lines(self.image, debug)
        traced = Traced(
            release=self.image.release,
            arch=self.image.arch,
            tracing=self.tracing,
            events=self.kprobe_events,
            places=Places(
                lambda line: self.at_line(line, debug=debug),
                lambda names, returns: self.functions(names, kretprobe=returns),
                self._why_not,
            ),
            names=StackNames(
                lambda address, exact: walker.frame(CodePlace(address, exact)),
                None if lines is None else lines.at,
            ),
            set_filter=lambda event, text: apply_filter(event, text, facts),
            turn=self.machine.turn,
            on_notrace=not self.kprobes.strict,
        )
        return Trace(traced, wanted, stack=stack, limit=limit)

    def _why_not(self, place: str) -> KprobesimError | None:
        """What is wrong with a place of ``kprobe_events``: names like an unknown one, say."""
        try:
            verdict = self.check(place.partition("%")[0])
        except KprobesimError as error:
            return error
        return None if verdict else SymbolError(place, verdict.message or "")

    @cached_property
    def tracing(self) -> Tracing:
        """Its trace events, and what they record."""
        from kprobesim.trace.tracing import Tracing

        return Tracing(self.kprobes, self._programs, self.tasks, self.image, booted=self.boots)

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
            self._tracers,
            self.kprobe_events,
            self._dynamic_events,
            self._filter_facts,
            self._triggers,
            self._error_log,
        )
        return Tracefs(tree, self.machine.turn.short, self._mount)

    def _mount(self, tracefs: Tracefs, path: str | os.PathLike[str], allow_other: bool) -> Mount:
        from kprobesim.bridges.fuse import Mount
        from kprobesim.trace.kallsyms import kallsyms

        return Mount(
            tracefs, path, allow_other=allow_other, symbols=lambda: kallsyms(self.image.symbols)
        )

    @cached_property
    def _tracers(self) -> Tracers:
        from kprobesim.trace.tracers.tracers import Tracers

        kprobes = self.kprobes
        tracers = Tracers(
            self.tracing,
            self._programs,
            self.machine,
            self.image,
            lambda: kprobes.init_memory.freed,
        )
        kprobes.module_notifier.subscribe(lambda module: tracers.module_coming(module.name))
        return tracers

    @cached_property
    def kprobe_events(self) -> KprobeEvents:
        """The events that ``kprobe_events`` lists: ``.command(line)`` is a line written to it."""
        from kprobesim.image.tables.tracepoints import trace_events
        from kprobesim.trace.kernel_facts import ImageFacts
        from kprobesim.trace.kprobe_events import KprobeEvents
        from kprobesim.trace.registrar import TracingRegistrar

        kprobes = self.kprobes
        registrar = TracingRegistrar(
            self.tracing,
            kprobes.rules,
            kprobes.return_probes,
            lambda: trace_events(self.image),
        )
        facts = ImageFacts(kprobes.rules, self.image, self.machine.memory.read)
        events = KprobeEvents(facts, registrar, self._error_log)
        kprobes.module_notifier.subscribe(lambda module: events.module_coming(module.name))
        return events

    @property
    def tracing_store(self) -> TracingStore:
        """What keeps all of it in snapshots."""
        from kprobesim.trace.filters.event_filter import apply_filter
        from kprobesim.trace.saved_tracing import TracingStore

        facts = self._filter_facts
        return TracingStore(
            self.tracing,
            self.kprobe_events,
            self._dynamic_events,
            self._triggers,
            self._tracers,
            self._programs.following,
            lambda event, text: apply_filter(event, text, facts),
        )

    @cached_property
    def _triggers(self) -> TriggersByArray:
        from kprobesim.trace.triggers.by_array import TriggersByArray
        from kprobesim.trace.triggers.commands import commands_of

        facts = self._filter_facts
        return TriggersByArray(self.tracing, facts, self._error_log, commands_of(facts.config))

    @cached_property
    def _dynamic_events(self) -> DynamicEvents:
        from kprobesim.trace.dynamic_events import DynamicEvents

        return DynamicEvents(self.kprobe_events, self._triggers.synthetic)

    @cached_property
    def _filter_facts(self) -> KernelFilterFacts:
        from kprobesim.trace.filters.kernel_facts import KernelFilterFacts

        return KernelFilterFacts(self.image, len(self.machine.vcpus))

    @cached_property
    def _error_log(self) -> ErrorLog:
        from kprobesim.trace.error_log import ErrorLog

        return ErrorLog(self.machine.clock.now)
