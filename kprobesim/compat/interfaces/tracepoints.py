"""Tracepoints: as events of tracefs, raw, and with the types of BTF."""

from __future__ import annotations

import errno
from collections.abc import Collection

from kprobesim.compat.finding import Finding
from kprobesim.compat.instead import nearest
from kprobesim.compat.interfaces.ftrace import unsupported
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.compat.syscall_names import SYSCALL_PREFIX, is_dispatched
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Wanted
from kprobesim.types.model import FunctionPrototype, Pointer, Typedef

__all__ = ["attach_to_tracepoint", "tracepoint_prototype"]

_SYSCALLS, _ANY_CALL = "syscalls", "raw_syscalls:sys_enter"
_ITERATOR = "__traceiter_"  # the function of each tracepoint (5.10)


def attach_to_tracepoint(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """Whether the event, or the tracepoint behind it, is there."""
    category, _, name = wanted.target.rpartition(":")
    known = asked.known
    if wanted.interface is Interface.TPROBE_EVENTS:
        missing = unsupported(asked, wanted.interface)
        if missing is not None:
            return [missing]
    if wanted.interface is Interface.TRACEPOINT:
        if wanted.target in known.trace_events:
            unnumbered = _unnumbered(asked, category, name)
            if unnumbered is not None:
                return [unnumbered]
            return [Finding(Kind.ATTACHED, f"the event {wanted.target}")]
        return [_no_event(asked, wanted, category, name)]
    if name not in known.raw_tracepoints:
        return [_no_tracepoint(asked, name)]
    if wanted.interface is Interface.TP_BTF:
        if asked.btf is None:
            why = "this kernel carries no BTF (CONFIG_DEBUG_INFO_BTF=n)"
            return [Finding(Kind.NO_BTF, why, errno.EINVAL, found_by="btf")]
        if not asked.btf.named(f"btf_trace_{name}"):
            why = f"the tracepoint {name} is not in BTF (btf_trace_{name})"
            instead = (f"raw_tp/{name}",)
            return [Finding(Kind.NO_BTF, why, errno.ESRCH, instead=instead, found_by="btf")]
    return [Finding(Kind.ATTACHED, f"the tracepoint {name}")]


def _unnumbered(asked: KernelFacts, category: str, name: str) -> Finding | None:
    """Of calls that no 64-bit process can make there are no events: init_syscall_trace()."""
    call = name.removeprefix("sys_enter_").removeprefix("sys_exit_")
    function = SYSCALL_PREFIX[asked.kernel.arch] + call
    if category != _SYSCALLS or is_dispatched(asked, function) is not False:
        return None
    text = (
        f"there is no event {category}:{name}: the system call has no number on this architecture"
    )
    return Finding(Kind.ABSENT, text, errno.ENOENT, Reason.UNKNOWN_SYMBOL)


def tracepoint_prototype(asked: KernelFacts, name: str) -> FunctionPrototype | None:
    """What its probes take; the first parameter is the tracepoint's own data."""
    for btf in asked.types_of():
        for found in btf.named(f"btf_trace_{name}", Typedef):
            kept = found.stripped
            target = kept.target.stripped if isinstance(kept, Pointer) else None
            if isinstance(target, FunctionPrototype):
                return target
    return None


def _no_event(asked: KernelFacts, wanted: Wanted, category: str, name: str) -> Finding:
    events = asked.known.trace_events
    if not events:
        return Finding(
            Kind.UNKNOWN, "this kernel's file does not tell its events", certainty="guess"
        )
    if category == _SYSCALLS and _ANY_CALL in events and not _group(events, category):
        text = "this kernel was built without CONFIG_FTRACE_SYSCALLS, which makes events of calls"
        return Finding(Kind.CONFIG, text, errno.ENOENT, Reason.UNKNOWN_SYMBOL, (_ANY_CALL,))
    elsewhere = sorted(event for event in events if event.rpartition(":")[2] == name)
    if elsewhere:
        text = f"there is no event {wanted.target}: it is in another group"
        return Finding(Kind.RENAMED, text, errno.ENOENT, instead=tuple(elsewhere))
    if name in asked.known.raw_tracepoints:
        text = f"there is no event {wanted.target}, only a tracepoint without one"
        return Finding(Kind.RENAMED, text, errno.ENOENT, instead=(f"raw_tp/{name}",))
    module = _in_module(asked, wanted.target, name)
    if module is not None:
        return module
    group = _group(events, category)
    near = nearest(name, [event.rpartition(":")[2] for event in group])
    why = "" if group else f", nor any other of {category}"
    return Finding(
        Kind.ABSENT,
        f"there is no event {wanted.target}{why}",
        errno.ENOENT,
        Reason.UNKNOWN_SYMBOL,
        instead=tuple(f"{category}:{one}" for one in near),
    )


def _group(events: Collection[str], category: str) -> list[str]:
    return [event for event in events if event.startswith(f"{category}:")]


def _no_tracepoint(asked: KernelFacts, name: str) -> Finding:
    module = _in_module(asked, name, name)
    if module is not None:
        return module
    near = nearest(name, asked.known.raw_tracepoints)
    text = f"there is no tracepoint {name}"
    return Finding(Kind.ABSENT, text, errno.ENOENT, Reason.UNKNOWN_SYMBOL, instead=tuple(near))


def _in_module(asked: KernelFacts, target: str, name: str) -> Finding | None:
    modules = asked.modules_with(_ITERATOR + name)
    if not modules:
        return None
    return Finding(
        Kind.MODULE,
        f"{target} is a tracepoint of the module {modules[0]}, and there once that is loaded",
        errno.ENOENT,
        Reason.MODULE_NOT_LOADED,
        instead=(f"modprobe {modules[0]} first",),
    )
