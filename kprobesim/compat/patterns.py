"""Globs: what they match on a kernel. bpftrace and libbpf expand them by what ftrace traces."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from kprobesim.compat.finding import Finding
from kprobesim.compat.interfaces.ftrace import unsupported
from kprobesim.compat.interfaces.trampoline import no_trampolines
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["match"]

_TRAMPOLINES = (Interface.FENTRY, Interface.FEXIT, Interface.FMOD_RET, Interface.FSESSION)
_RAW = (Interface.RAW_TRACEPOINT, Interface.TP_BTF, Interface.TPROBE_EVENTS)


def match(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """How many places the pattern matches, and whether there is any."""
    if wanted.interface in _TRAMPOLINES:
        missing = no_trampolines(asked)
    else:  # bpftrace attaches to each where the kernel cannot attach to many
        missing = unsupported(asked, wanted.interface)
    if missing is not None:
        return [missing]
    if wanted.interface is Interface.TRACEPOINT:
        return [_count(wanted, asked.known.trace_events, "events")]
    if wanted.interface in _RAW:
        return [_count(wanted, asked.known.raw_tracepoints, "tracepoints")]
    if wanted.module:
        if not asked.rules.bring(wanted.module):
            text = f"the module {wanted.module} is not to be had for this kernel"
            return [Finding(Kind.MODULE, text, errno.ENOENT, Reason.MODULE_NOT_LOADED)]
        module = asked.rules.image.modules[wanted.module.replace("-", "_")]
        names = {one.name for one in module.symbols.functions() if asked.is_traceable(one)}
        return [_count(wanted, names, "functions")]
    traced = set(asked.known.traced_functions.values())
    if wanted.interface in _TRAMPOLINES and asked.btf is not None:
        traced &= set(asked.btf.functions())
    finding = _count(wanted, traced, "functions")
    if finding.kind is Kind.ABSENT and _matching(wanted, asked.function_names):
        text = f"{wanted.target} matches functions, and none that ftrace can trace"
        return [Finding(Kind.NOT_TRACEABLE, text, errno.ENOENT, Reason.NOT_TRACEABLE)]
    return [finding]


def _matching(wanted: Wanted, names: Iterable[str]) -> int:
    if wanted.regex:
        search = re.compile(wanted.target).search
        return sum(search(name) is not None for name in names)
    return sum(fnmatchcase(name, wanted.target) for name in names)


def _count(wanted: Wanted, names: Collection[str], what: str) -> Finding:
    found = _matching(wanted, names)
    if found:
        kind = Kind.FTRACE if what == "functions" else Kind.ATTACHED
        return Finding(kind, f"matches {found} {what}")
    text = f"{wanted.target} matches nothing in this kernel"
    return Finding(Kind.ABSENT, text, errno.ENOENT, Reason.UNKNOWN_SYMBOL)
