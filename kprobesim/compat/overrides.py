"""Probes that change what a function returns: ``bpf_override_return()``, Tetragon's ``Override``.

kernel/trace/trace_kprobe.c: ``trace_kprobe_error_injectable()``; kernel/trace/bpf_trace.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from kprobesim.compat.finding import Finding
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.compat.syscall_names import SYSCALL_PREFIX
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["not_overridable"]

_BY_TRAMPOLINE = (Interface.FMOD_RET, Interface.LSM, Interface.LSM_CGROUP)


def not_overridable(asked: KernelFacts, wanted: Wanted) -> Iterator[Finding]:
    """Why its return value may not be changed."""
    if not wanted.overrides or wanted.interface in _BY_TRAMPOLINE:
        return
    name = wanted.target
    if wanted.interface is Interface.SYSCALL:
        name = SYSCALL_PREFIX[asked.kernel.arch] + name
    listed = asked.rules.image.error_injection
    if any(
        listed.type_of(symbol.address) is not None
        for symbol in asked.functions_named(name, wanted.module)
    ):
        if not asked.has("bpf_override_return"):
            yield _no(
                "this kernel was built without CONFIG_BPF_KPROBE_OVERRIDE", Kind.CONFIG, wanted
            )
        return
    if not len(listed):
        text = "this kernel lets nobody change what functions return "
        yield _no(text + "(CONFIG_FUNCTION_ERROR_INJECTION=n)", Kind.NOT_OVERRIDABLE, wanted)
        return
    yield _no(f"{name} is not on the list of error injection", Kind.NOT_OVERRIDABLE, wanted)


def _no(why: str, kind: Kind, wanted: Wanted) -> Finding:
    instead: tuple[str, ...] = ("a signal to the process",)
    hook = wanted.target.removeprefix("security_")
    if hook != wanted.target:
        instead = (f"fmod_ret/{wanted.target}", f"lsm/{hook}", *instead)
        if wanted.multi:  # Tetragon's validateOverride(): fmod_ret, and not with kprobe.multi
            why += "; Tetragon overrides it by fmod_ret, if the policy does without kprobe.multi"
            instead = ('options: [{name: disable-kprobe-multi, value: "1"}]', *instead)
    return Finding(kind, why, errno.EINVAL, Reason.NOT_ERROR_INJECTABLE, instead=instead)
