"""register_kprobe(), kprobe_events and perf's PMU of kprobes, which BPF uses: one set of rules.

What they differ in: kprobe_events and the PMU refuse what ftrace cannot trace and, since 6.7 and
stable kernels of that time, a name that is there several times (kernel/trace/trace_kprobe.c).
"""

from __future__ import annotations

import errno

from kprobesim.compat.absence import absent
from kprobesim.compat.finding import Finding
from kprobesim.compat.instead import same_events
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.compat.settings import LOCKED_DOWN
from kprobesim.errors import Reason
from kprobesim.kprobes.rules.verdict import Verdict
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["attach_kprobe", "verdict_of"]

_KINDS = {
    Reason.AMBIGUOUS_SYMBOL: Kind.AMBIGUOUS,
    Reason.NOT_TRACEABLE: Kind.NOT_TRACEABLE,
    Reason.BLACKLISTED: Kind.BLACKLISTED,
    Reason.NOT_INSTRUCTION_BOUNDARY: Kind.BOUNDARY,
    Reason.UNALIGNED: Kind.BOUNDARY,
    Reason.UNDECODABLE: Kind.BOUNDARY,
}
#: create_local_trace_kprobe() returns these as they are; writes into kprobe_events pass a parser.
_OF_THE_PMU = {
    Reason.AMBIGUOUS_SYMBOL: errno.EADDRNOTAVAIL,
    Reason.UNKNOWN_SYMBOL: errno.ENOENT,
    Reason.MODULE_NOT_LOADED: errno.ENOENT,
}
_MOST_SHOWN = 4


def attach_kprobe(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """Whether a kprobe or kretprobe attaches; if it is one of several of its name, that too."""
    if wanted.source_place is not None:
        return [
            Finding(
                Kind.UNKNOWN,
                f"{wanted.source_place} is a place in the source: only debug information finds it",
                instead=("name a function, or function+offset",),
            )
        ]
    if wanted.interface is not Interface.REGISTER_KPROBE and asked.is_set(LOCKED_DOWN):
        text = f"this kernel is locked down from the start ({LOCKED_DOWN}=y): no kprobes by events"
        return [Finding(Kind.CONFIG, text, errno.EPERM, instead=("a tracepoint",))]
    verdict = verdict_of(asked, wanted, wanted.module)
    if verdict.reason is Reason.UNKNOWN_SYMBOL:
        return absent(asked, wanted, _errno(wanted, verdict))
    if not verdict:
        return [_refused(asked, wanted, verdict)]
    if verdict.kind is None and (_by_pmu(wanted) or asked.functions_named(wanted.target)):
        return [_without_module(asked, wanted, verdict)]  # the PMU does not wait
    if verdict.kind is None:
        return [Finding(Kind.WAITS, verdict.message or "", rule=verdict.reason)]
    findings = [attached(verdict)]
    if verdict.same_named > 1:
        findings.append(_one_of_several(asked, wanted, verdict))
    return findings


def verdict_of(asked: KernelFacts, wanted: Wanted, module: str | None) -> Verdict:
    """What the rules say to the probe, in ``module`` if that is named."""
    name = f"{module}:{wanted.target}" if module and wanted.target else wanted.target or None
    return asked.rules.check(
        name,
        addr=wanted.address,
        offset=wanted.offset,
        kretprobe=wanted.returns,
        events=wanted.interface is not Interface.REGISTER_KPROBE,
        suggest=False,
    )


def attached(verdict: Verdict) -> Finding:
    """That it is accepted, and how it runs."""
    kind = Kind.BREAKPOINT
    if verdict.kind == "ftrace":
        kind = Kind.FTRACE
    elif verdict.optimizable:
        kind = Kind.JUMP
    return Finding(kind, verdict.summary(), found_by="rules")


def _errno(wanted: Wanted, verdict: Verdict) -> int:
    if _by_pmu(wanted) and verdict.reason in _OF_THE_PMU:
        return _OF_THE_PMU[verdict.reason]
    return verdict.errno


def _by_pmu(wanted: Wanted) -> bool:
    return wanted.interface in (Interface.KPROBE_PERF, Interface.SYSCALL)


def _refused(asked: KernelFacts, wanted: Wanted, verdict: Verdict) -> Finding:
    reason = verdict.reason
    instead: tuple[str, ...] = ()
    message = verdict.message or ""
    if reason is Reason.MODULE_NOT_LOADED:
        return _without_module(asked, wanted, verdict)
    if reason is Reason.AMBIGUOUS_SYMBOL:
        instead = _places(asked, wanted)
        message = f"{verdict.same_named} functions are named {wanted.target}, and this kernel "
        message += "takes none of several"
    elif reason in (Reason.NOT_TRACEABLE, Reason.BLACKLISTED):
        if not _is_code(asked, wanted):
            text = f"{wanted.target} is data, no function: there is nothing to trace or to probe"
            return Finding(Kind.REFUSED, text, _errno(wanted, verdict), reason, found_by="rules")
        if reason is Reason.NOT_TRACEABLE:
            message = f"ftrace cannot trace {wanted.target} (an inline function, notrace, or of a "
            message += "file that is not traced), and this interface takes only what it can"
        instead = tuple(f"its caller {name}" for name in _callers(asked, wanted.target))
        instead += same_events(wanted.target, asked.known.trace_events)
    elif reason is Reason.NOT_FUNCTION_ENTRY:
        instead = (f"{wanted.target} itself",)
    return Finding(
        _KINDS.get(reason, Kind.REFUSED) if reason is not None else Kind.REFUSED,
        message,
        errno=_errno(wanted, verdict),
        rule=reason,
        instead=instead,
        found_by="rules",
    )


def _is_code(asked: KernelFacts, wanted: Wanted) -> bool:
    """Whether the symbol that is named is a function, if one is named."""
    named = asked.rules.symbols.candidates(wanted.target) if wanted.target else []
    return not named or any(symbol.is_function for symbol in named)


def _callers(asked: KernelFacts, name: str) -> list[str]:
    callers = asked.facts(name).callers
    good = [
        caller
        for caller in callers
        if any(asked.is_traceable(symbol) for symbol in asked.functions_named(caller))
    ]
    return good[:_MOST_SHOWN]


def _without_module(asked: KernelFacts, wanted: Wanted, verdict: Verdict) -> Finding:
    built_in = asked.functions_named(wanted.target)
    if built_in:
        return Finding(
            Kind.RENAMED,
            f"this kernel has no module {wanted.module}: {wanted.target} is built into it",
            errno=_errno(wanted, verdict),
            rule=verdict.reason,
            instead=(wanted.target,),
        )
    message = verdict.message or f"the module {wanted.module} is not loaded"
    if verdict:
        message = f"there is no module {wanted.module} here, and this interface waits for none"
    others = tuple(f"{one}:{wanted.target}" for one in asked.modules_with(wanted.target))
    number = _errno(wanted, verdict)
    return Finding(Kind.MODULE, message, number, verdict.reason, instead=others[:_MOST_SHOWN])


def _places(asked: KernelFacts, wanted: Wanted) -> tuple[str, ...]:
    twins = asked.functions_named(wanted.target, wanted.module)
    return tuple(asked.code_place(twin.address + wanted.offset) for twin in twins[:_MOST_SHOWN])


def _one_of_several(asked: KernelFacts, wanted: Wanted, verdict: Verdict) -> Finding:
    return Finding(
        Kind.DUPLICATE,
        f"{verdict.same_named} functions are named {wanted.target}: the probe is on the first, "
        "and calls of the others are missed",
        rule=Reason.AMBIGUOUS_SYMBOL,
        instead=_places(asked, wanted),
    )
