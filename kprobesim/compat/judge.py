"""What one kernel says to one probe: attaching by its interface, and what is wrong all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from kprobesim.compat.alternatives import forgiven, forgiven_by_alternatives
from kprobesim.compat.arguments import moved_arguments
from kprobesim.compat.finding import Answer, Finding, worst_first
from kprobesim.compat.interfaces.ftrace import attach_by_ftrace
from kprobesim.compat.interfaces.kprobe import attach_kprobe
from kprobesim.compat.interfaces.lsm import attach_to_hook
from kprobesim.compat.interfaces.others import attach_by_type, only_load
from kprobesim.compat.interfaces.syscalls import attach_to_syscall
from kprobesim.compat.interfaces.tracepoints import attach_to_tracepoint
from kprobesim.compat.interfaces.trampoline import attach_by_trampoline
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind, Level
from kprobesim.compat.loaders import as_loaded, not_in_btf
from kprobesim.compat.missed import missed_calls
from kprobesim.compat.objects import Objects
from kprobesim.compat.overrides import not_overridable
from kprobesim.compat.patterns import match
from kprobesim.errors import KprobesimError
from kprobesim.sources.wanted import Interface, Source, Wanted

__all__ = ["ON_FUNCTIONS", "Judge"]

_ATTACH: dict[Interface, Callable[[KernelFacts, Wanted], list[Finding]]] = {
    Interface.REGISTER_KPROBE: attach_kprobe,
    Interface.KPROBE_EVENTS: attach_kprobe,
    Interface.KPROBE_PERF: attach_kprobe,
    Interface.SYSCALL: attach_to_syscall,
    Interface.FPROBE_EVENTS: attach_by_ftrace,
    Interface.KPROBE_MULTI: attach_by_ftrace,
    Interface.KPROBE_SESSION: attach_by_ftrace,
    Interface.FTRACE: attach_by_ftrace,
    Interface.FENTRY: attach_by_trampoline,
    Interface.FEXIT: attach_by_trampoline,
    Interface.FSESSION: attach_by_trampoline,
    Interface.FMOD_RET: attach_by_trampoline,
    Interface.TPROBE_EVENTS: attach_to_tracepoint,
    Interface.TRACEPOINT: attach_to_tracepoint,
    Interface.RAW_TRACEPOINT: attach_to_tracepoint,
    Interface.TP_BTF: attach_to_tracepoint,
    Interface.LSM: attach_to_hook,
    Interface.LSM_CGROUP: attach_to_hook,
    Interface.ITER: attach_by_type,
    Interface.STRUCT_OPS: attach_by_type,
    Interface.FREPLACE: attach_by_type,
    Interface.LOAD: only_load,
}
ON_FUNCTIONS = frozenset(
    interface
    for interface, attach in _ATTACH.items()
    if attach in (attach_kprobe, attach_by_ftrace, attach_by_trampoline)
)
"""The interfaces by which probes go to functions of the kernel."""


class Judge:
    """Answers for one kernel.

    Attributes:
        kernel: What is known of it.
    """

    def __init__(self, kernel: KernelFacts) -> None:
        self.kernel = kernel
        self._objects = Objects(kernel)

    def answers(self, sources: Iterable[Source]) -> list[Answer]:
        """The answers to all probes of the sources, in order.

        Probes in modules come last, as their modules are loaded for them: what the others find
        does not depend on it.
        """
        asked = [(source, wanted) for source in sources for wanted in source.wanted]
        found = {}
        same: dict[tuple[object, ...], Answer] = {}  # those of lists, which repeat themselves
        for with_module in (False, True):
            for number, (source, wanted) in enumerate(asked):
                if (wanted.module is not None) is with_module:
                    if source.object is not None:
                        found[number] = self.answer(wanted, source)
                        continue
                    known = same.get(wanted.but_for_line)
                    if known is None:
                        known = same[wanted.but_for_line] = self.answer(wanted, source)
                    found[number] = replace(known, wanted=wanted)
        return forgiven_by_alternatives([found[number] for number in range(len(asked))])

    def answer(self, wanted: Wanted, source: Source | None = None) -> Answer:
        """Everything that is known of ``wanted`` on the kernel.

        What is damaged in the kernel's file spoils only the answers that need it.

        Args:
            wanted: The probe.
            source: Where it is from: what its object would do is looked at, too.
        """
        if wanted.versions is not None and self.kernel.version not in wanted.versions:
            text = f"its source has it for kernels {wanted.versions} only (LINUX_VERSION_CODE)"
            return Answer(wanted, self.kernel.kernel, (Finding(Kind.OPTIONAL, text),))
        asked = as_loaded(self.kernel, wanted)
        try:
            if source is not None:
                asked = self._objects.with_arguments(source, asked)
            findings = self._findings(asked)
            if source is not None:
                findings += self._objects.findings(source, wanted)
        except KprobesimError as error:
            findings = [Finding(Kind.UNKNOWN, str(error), certainty="guess")]
        if wanted.optional and not wanted.alternatives:
            findings = list(map(forgiven, findings))
        parameters, result = self._signature(wanted)
        read = asked.arguments
        return Answer(wanted, self.kernel.kernel, worst_first(findings), parameters, result, read)

    def _findings(self, wanted: Wanted) -> list[Finding]:
        if wanted.pattern:
            return match(self.kernel, wanted)
        findings = _ATTACH[wanted.interface](self.kernel, wanted)
        if any(finding.level is Level.ERROR for finding in findings):
            return findings
        if wanted.interface in ON_FUNCTIONS and wanted.target:
            findings += missed_calls(self.kernel, wanted)
        findings += not_in_btf(self.kernel, wanted)
        findings += moved_arguments(self.kernel, wanted)
        findings += not_overridable(self.kernel, wanted)
        return findings

    def _signature(self, wanted: Wanted) -> tuple[tuple[str, ...] | None, str | None]:
        """What the function takes, if it is probed where it still has that, and returns."""
        on_function = wanted.target and wanted.interface in ON_FUNCTIONS
        if wanted.pattern or wanted.offset or not on_function:
            return None, None
        name, module = wanted.target, wanted.module
        try:
            return self.kernel.parameters(name, module), self.kernel.result(name, module)
        except KprobesimError:
            return None, None  # told by the findings, if it matters
