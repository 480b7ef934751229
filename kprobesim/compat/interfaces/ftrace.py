"""kprobe.multi, fprobe events and ftrace's filter: what attaches to the sites of ftrace alone.

``bpf_kprobe_multi_link_attach()`` of kernel/trace/bpf_trace.c (5.18) and
``ftrace_lookup_symbols()`` of kernel/trace/ftrace.c: of each name the first symbol that ftrace can
trace; -ESRCH without one.
"""

from __future__ import annotations

import errno

from kprobesim.compat.absence import absent
from kprobesim.compat.finding import Finding
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["attach_by_ftrace", "unsupported"]

_MULTI = (Interface.KPROBE_MULTI, Interface.KPROBE_SESSION)
_OF_EVENTS = (Interface.FPROBE_EVENTS, Interface.TPROBE_EVENTS)
_EVENTS = ("trace_fprobe_create", "__trace_fprobe_create", "trace_fprobe_create_cb")


def attach_by_ftrace(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """Whether it attaches to what ftrace can trace of that name."""
    missing = unsupported(asked, wanted.interface)
    if missing is not None:
        return [missing]
    number = errno.ESRCH if wanted.interface in _MULTI else errno.ENOENT
    if wanted.module and not asked.rules.bring(wanted.module):
        message = f"the module {wanted.module} is not to be had for this kernel"
        return [Finding(Kind.MODULE, message, errno=number, rule=Reason.MODULE_NOT_LOADED)]
    found = asked.functions_named(wanted.target, wanted.module)
    if not found:
        return absent(asked, wanted, number)
    traceable = [symbol for symbol in found if asked.is_traceable(symbol)]
    if not traceable:
        message = f"ftrace cannot trace {wanted.target} (notrace, noinstr, assembly or inlined)"
        return [Finding(Kind.NOT_TRACEABLE, message, number, Reason.NOT_TRACEABLE)]
    findings = [Finding(Kind.FTRACE, "through ftrace")]
    if len(found) > 1:
        how_many = f"{len(found)} functions are named {wanted.target}"
        if wanted.interface in _MULTI:
            text = f"{how_many}: by its name the first is traced, and calls of others are missed"
        else:
            text = f"{how_many}, and all that ftrace can trace are traced together"
        places = tuple(asked.code_place(symbol.address) for symbol in traceable[:4])
        findings.append(Finding(Kind.DUPLICATE, text, instead=places))
    return findings


def unsupported(asked: KernelFacts, interface: Interface) -> Finding | None:
    """Whether the kernel has the interface at all, by the functions that make it up."""
    if interface in _MULTI:
        if not asked.has("bpf_kprobe_multi_link_attach"):
            return _without("kprobe.multi came in 5.18", errno.EINVAL)
        if not asked.has("register_fprobe_ips"):
            return _without("it was built without CONFIG_FPROBE", errno.EOPNOTSUPP)
        if interface is Interface.KPROBE_SESSION and not asked.has("bpf_session_is_return"):
            return _without("kprobe.session came in 6.10", errno.EINVAL)
    elif interface in _OF_EVENTS and not asked.has(*_EVENTS):
        return _without("such events came in 6.5, and need CONFIG_FPROBE_EVENTS", errno.EINVAL)
    elif not asked.rules.image.ftrace_sites:
        return _without("it has no ftrace", errno.ENODEV)
    return None


def _without(why: str, number: int) -> Finding:
    return Finding(
        Kind.UNSUPPORTED,
        f"this kernel cannot attach that way: {why}",
        errno=number,
        rule=Reason.NOT_IN_THIS_KERNEL,
        instead=("a kprobe for each function",),
    )
