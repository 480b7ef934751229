"""How a loader goes about it, where that depends on the kernel: Tetragon's kprobes.

pkg/sensors/tracing/generickprobe.go (1.6): kprobe.multi where the kernel has it, except on ARM64
for policies that override; through perf otherwise. It looks each function up in BTF first.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

from kprobesim.arch.architecture import ARM64
from kprobesim.compat.finding import Finding
from kprobesim.compat.interfaces.ftrace import unsupported
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["as_loaded", "not_in_btf"]


def as_loaded(asked: KernelFacts, wanted: Wanted) -> Wanted:
    """``wanted`` by the interface that its loader takes on this kernel."""
    if not wanted.multi or wanted.interface is not Interface.KPROBE_PERF:
        return wanted
    if wanted.overrides and asked.kernel.arch == ARM64.name:
        return wanted
    if unsupported(asked, Interface.KPROBE_MULTI) is not None:
        return wanted
    return replace(wanted, interface=Interface.KPROBE_MULTI)


def not_in_btf(asked: KernelFacts, wanted: Wanted) -> Iterator[Finding]:
    """ValidateKprobeSpec() of pkg/btf/validation.go refuses the whole policy."""
    if wanted.needs_btf and asked.function_type(wanted.target, wanted.module) is None:
        yield Finding(
            Kind.NO_BTF,
            f"a kprobe would attach to {wanted.target}, and its loader looks it up in BTF, where "
            "it is not",
            errno=errno.ENOENT,
            found_by="btf",
        )
