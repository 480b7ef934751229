"""Calls that a probe on a function does not see, though nothing refuses it."""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.compat.finding import Finding
from kprobesim.compat.history import ALONE, HISTORY
from kprobesim.compat.interfaces.lsm import uncalled
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.compat.syscall_names import is_dispatched
from kprobesim.functions.facts import Clone, FunctionFacts, Inlining
from kprobesim.sources.wanted import Wanted

__all__ = ["missed_calls"]

_IN_STEAD = ("isra", "constprop", "llvm", "lto_priv")
_MOST_SHOWN = 4


def missed_calls(asked: KernelFacts, wanted: Wanted) -> Iterator[Finding]:
    """What the probe misses: inlined copies, clones, and everything if nobody calls it."""
    name = wanted.target
    facts = asked.facts(name)
    if is_dispatched(asked, name) is False:
        yield Finding(
            Kind.NEVER,
            f"{name} is in no table of system calls of 64-bit processes",
            found_by="code",
        )
    yield from uncalled(asked, name)
    in_kernel = not wanted.module  # the code of modules is not looked through for callers
    if (in_kernel and _is_uncalled(facts)) or (facts.inlining is Inlining.WHOLE and facts.symbols):
        yield _never(facts)
    elif facts.inlining is Inlining.PART:
        yield _inlined(facts)
    clones = [clone for clone in facts.clones if clone.kind in _IN_STEAD]
    if clones and facts.symbols:
        yield _cloned(facts, clones)
    yield from _succeeded(asked, facts)
    if facts.inlining not in (Inlining.PART, Inlining.NOT):
        yield from _passed_by(asked, facts)
    if facts.tail_called_only and wanted.returns:
        yield Finding(
            Kind.TAIL_CALLED,
            f"{name} is only jumped to: its return is that of {_names(facts.callers)}",
            found_by="code",
        )


def _succeeded(asked: KernelFacts, facts: FunctionFacts) -> Iterator[Finding]:
    """It is still there for those who did not change, and calls the one that took its place."""
    for step in HISTORY.get(facts.name, ()) if facts.symbols else ():
        for successor in step.names if step.kind is Kind.RENAMED else ():
            callers = asked.facts(successor).callers
            others = [name for name in callers if name != facts.name]
            if facts.name in callers and others:
                yield Finding(
                    Kind.SPLIT,
                    f"{successor} took the place of {facts.name}, which only calls it: calls from "
                    f"{_names(others)} are not seen",
                    instead=(successor,),
                    found_by="history",
                    certainty="likely",
                )


def _passed_by(asked: KernelFacts, facts: FunctionFacts) -> Iterator[Finding]:
    """Who calls itself what in C only this function does: copies without debug information."""
    inner = ALONE.get(facts.name)
    callers = asked.facts(inner).callers if inner is not None and facts.symbols else ()
    if facts.name not in callers:
        return
    others = [
        name
        for name in callers
        if name != facts.name and facts.name not in asked.facts(name).callers
    ]
    if others:
        yield Finding(
            Kind.PARTLY_INLINED,
            f"calls of {facts.name} that were inlined are not seen: in {_names(others)}, as they "
            f"call {inner} themselves",
            instead=(f"{inner}", *others[: _MOST_SHOWN - 1]),
            found_by="history",
            certainty="likely",
        )


def _is_uncalled(facts: FunctionFacts) -> bool:
    """Whether nothing in the kernel's code and data leads to it."""
    return bool(facts.symbols) and not (facts.callers or facts.address_taken or facts.clones)


def _never(facts: FunctionFacts) -> Finding:
    into = list(dict.fromkeys(place.caller for place in facts.inlined_into))
    if into:
        text = f"no call of {facts.name} is left: all run inlined copies{_into(facts)}"
    else:
        text = f"nothing in the kernel calls {facts.name}: it is not used, or inlined where it was"
    return Finding(
        Kind.NEVER,
        text,
        instead=tuple(into[:_MOST_SHOWN]),
        found_by="dwarf" if facts.found_by == "dwarf" else "code",
        certainty="likely",
    )


def _inlined(facts: FunctionFacts) -> Finding:
    into = list(dict.fromkeys(place.caller for place in facts.inlined_into))
    return Finding(
        Kind.PARTLY_INLINED,
        f"calls of {facts.name} that were inlined are not seen{_into(facts)}",
        instead=tuple(into[:_MOST_SHOWN]),
        found_by=facts.found_by,
        certainty=facts.certainty,
    )


def _into(facts: FunctionFacts) -> str:
    into = list(dict.fromkeys(place.caller for place in facts.inlined_into))
    return f": in {_names(into)}" if into else ""


def _names(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _cloned(facts: FunctionFacts, clones: list[Clone]) -> Finding:
    names = [clone.symbol.name for clone in clones]
    return Finding(
        Kind.SPLIT,
        f"calls of {facts.name} also go to {_names(names)}, which the probe does not see",
        instead=tuple(names[:_MOST_SHOWN]),
    )
