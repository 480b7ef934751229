"""A function that is not there: what became of it, and what to probe instead."""

from __future__ import annotations

from dataclasses import replace

from kprobesim.compat.finding import Finding
from kprobesim.compat.history import HISTORY, Step
from kprobesim.compat.instead import became, nearest, same_events, variants
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.compat.settings import missing_setting
from kprobesim.compat.syscall_names import other_spellings, syscall_of
from kprobesim.errors import Reason
from kprobesim.functions.facts import FunctionFacts, Inlining
from kprobesim.sources.wanted import Wanted

__all__ = ["absent"]

_RULE = Reason.UNKNOWN_SYMBOL
_MOST_SHOWN = 4
_BECAME = {
    Kind.RENAMED: "it was renamed",
    Kind.INLINED: "it became static, and is inlined where it was called",
    Kind.ABSENT: "it was removed",
}
_COLD, _PART = ".cold", "part"  # of a function, not the function


def absent(
    asked: KernelFacts,
    wanted: Wanted,
    number: int,
) -> list[Finding]:
    """Why there is no function of that name, and what there is.

    Args:
        asked: The kernel.
        wanted: The probe, whose target has no symbol.
        number: The errno that attaching ends with.
    """
    events = same_events(wanted.target, asked.known.trace_events)
    findings = _absent(asked, wanted, number)
    return [
        replace(finding, instead=tuple(dict.fromkeys((*finding.instead, *events))))
        for finding in findings
    ]


def _absent(asked: KernelFacts, wanted: Wanted, number: int) -> list[Finding]:
    name = wanted.target
    call = _syscall(asked, name, number)
    if call is not None:
        return [call]
    facts = asked.facts(name)
    for finding in (
        _suffixed(facts, number),
        _otherwise_suffixed(asked, name, number),
        _only_tracepoint(asked, facts, number),
        _inlined(asked, facts, number),
    ):
        if finding is not None:
            return [finding]
    known = name in HISTORY and _of_history(asked, name, number)
    if known:  # an inline function may have copies of its own in modules
        return [known]
    if not wanted.module:
        modules = asked.modules_with(name)
        if modules:
            return _of_module(wanted, modules, number)
    return [_renamed_or_gone(asked, facts, number)]


def _suffixed(facts: FunctionFacts, number: int) -> Finding | None:
    found = [clone for clone in facts.clones if not clone.symbol.name.endswith(_COLD)]
    whole = [clone for clone in found if clone.kind != _PART]
    clones = whole or found
    if not clones:
        return None
    names = ", ".join(clone.symbol.name for clone in clones[:_MOST_SHOWN])
    what = "" if whole else ", which is only a part of it"
    message = f"{facts.name} is there only as {names}{what}"
    if facts.inlining in (Inlining.PART, Inlining.WHOLE):
        message += f", and inlined{_into(facts)}"
    return Finding(
        Kind.SUFFIX,
        message,
        number,
        _RULE,
        instead=tuple(clone.symbol.name for clone in clones[:_MOST_SHOWN]) if whole else (),
    )


def _otherwise_suffixed(asked: KernelFacts, name: str, number: int) -> Finding | None:
    """``f.isra.0`` was wanted, and there is ``f``, or ``f.isra.1``."""
    plain, dot, _ = name.partition(".")
    if not plain or not dot:
        return None
    facts = asked.facts(plain)
    clones = [c.symbol.name for c in facts.clones if c.kind != _PART]
    found = [one for one in clones if not one.endswith(_COLD)]
    if facts.symbols:
        found.insert(0, plain)
    if not found:
        return None
    names = tuple(dict.fromkeys(found))[:_MOST_SHOWN]
    text = f"there is no {name} in this kernel: its compiler called it {', '.join(names)}"
    return Finding(Kind.SUFFIX, text, number, _RULE, instead=names)


def _only_tracepoint(asked: KernelFacts, facts: FunctionFacts, number: int) -> Finding | None:
    """The name of a tracepoint is in the kernel as a string, as those of inlined functions are."""
    name, known = facts.name, asked.known
    if facts.inlined_into or name not in known.raw_tracepoints:
        return None
    if _of_history(asked, name, number) is not None:
        return None
    events = sorted(event for event in known.trace_events if event.rpartition(":")[2] == name)
    instead = tuple(f"tracepoint:{event}" for event in events) or (f"raw_tp/{name}",)
    text = f"{name} is no function of this kernel: it is a tracepoint"
    return Finding(Kind.ABSENT, text, number, _RULE, instead=instead)


def _inlined(asked: KernelFacts, facts: FunctionFacts, number: int) -> Finding | None:
    if facts.inlining is not Inlining.WHOLE:
        return None
    known = None if facts.inlined_into else _of_history(asked, facts.name, number)
    if known is not None:
        return known
    into = dict.fromkeys(place.caller for place in facts.inlined_into)
    return Finding(
        Kind.INLINED,
        f"{facts.name} is inlined wherever it is called{_into(facts)}",
        number,
        _RULE,
        instead=tuple(list(into)[:_MOST_SHOWN]),
        found_by=facts.found_by,
        certainty=facts.certainty,
    )


def _into(facts: FunctionFacts) -> str:
    callers = list(dict.fromkeys(place.caller for place in facts.inlined_into))
    if not callers:
        return ""
    more = f" and {len(callers) - _MOST_SHOWN} more" if len(callers) > _MOST_SHOWN else ""
    return f": into {', '.join(callers[:_MOST_SHOWN])}{more}"


def _of_module(wanted: Wanted, modules: tuple[str, ...], number: int) -> list[Finding]:
    others = f" (also in {', '.join(modules[1:])})" if modules[1:] else ""
    return [
        Finding(
            Kind.MODULE,
            f"{wanted.target} is in the module {modules[0]}{others}: there once that is loaded",
            number,
            Reason.MODULE_NOT_LOADED,
            instead=(f"modprobe {modules[0]} first", f"{modules[0]}:{wanted.target}"),
        )
    ]


def _syscall(asked: KernelFacts, name: str, number: int) -> Finding | None:
    spellings = list(other_spellings(asked, name))
    if not spellings:
        return None
    message = f"the system call {syscall_of(name)} is {spellings[0]} on {asked.kernel.arch}"
    message += "; its first argument points to struct pt_regs, which has the call's own"
    return Finding(Kind.RENAMED, message, number, _RULE, instead=tuple(spellings))


def _renamed_or_gone(asked: KernelFacts, facts: FunctionFacts, number: int) -> Finding:
    name = facts.name
    symbols = asked.rules.symbols.candidates(name)
    if symbols:
        message = f"{name} is no function of this kernel: it is data"
        return Finding(Kind.ABSENT, message, number, _RULE)
    known = _of_history(asked, name, number)
    if known is not None:
        return known
    sure = facts.inlining is Inlining.GONE and facts.found_by == "dwarf"
    why = "" if sure else ": removed, renamed or, if it was static, inlined wherever it was called"
    setting = missing_setting(asked, name)
    if setting is not None:
        why = f", which was built without {setting}"
    elif not asked.known.modules:
        why += "; or it is in a module, and none of this kernel's is at hand"
    inner = f"__{name}"
    of_modules = [f"{module}:{inner}" for module in asked.modules_with(inner)]
    near = (
        *of_modules,
        *variants(name, asked.function_names),
        *nearest(name, asked.function_names),
    )
    probed = asked.probed_names
    near = tuple(one for one in near if one in probed or one in of_modules) or near
    return Finding(
        Kind.ABSENT,
        f"there is no {name} in this kernel{why}",
        number,
        _RULE,
        instead=tuple(dict.fromkeys(near))[:_MOST_SHOWN],
        found_by=facts.found_by,
    )


def _of_history(asked: KernelFacts, name: str, number: int) -> Finding | None:
    step = became(name, asked.probed_names) or _in_modules(asked, name)
    if step is None:
        return None
    return Finding(
        step.kind,
        f"there is no {name} in this kernel: {_BECAME[step.kind]}",
        number,
        _RULE,
        instead=step.names,
        found_by="history",
        certainty="likely",
    )


def _in_modules(asked: KernelFacts, name: str) -> Step | None:
    """What it became, if that is in a module here."""
    for step in HISTORY.get(name, ()):
        found = [(one, asked.modules_with(one)) for one in step.names]
        names = tuple(f"{modules[0]}:{one}" for one, modules in found if modules)
        if names:
            return Step(step.kind, names)
    return None
