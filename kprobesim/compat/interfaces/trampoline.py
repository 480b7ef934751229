"""fentry, fexit and fmod_ret: BPF's trampolines, which want a BTF id and a site of ftrace.

``bpf_check_attach_target()`` of kernel/bpf/verifier.c and ``register_fentry()`` of
kernel/bpf/trampoline.c (5.10 to 7.3).
"""

from __future__ import annotations

import errno

from kprobesim.arch.architecture import halves
from kprobesim.compat.absence import absent
from kprobesim.compat.finding import ENOTSUPP, Finding
from kprobesim.compat.interfaces.sleepable import sleepless_function
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["attach_by_trampoline", "no_trampolines"]

_SINCE = halves(x86_64="", arm64=" (they came to ARM64 in 6.4)")
_DIRECT_CALLS = ("register_ftrace_direct", "register_ftrace_direct_multi")
#: What register_btf_fmodret_id_set() is told at boot (6.0): net/mptcp/bpf.c, kernel/cgroup/rstat.c,
#: net/bpf/test_run.c.
_MODIFIED = ("bpf_mptcp_fmodret_ids", "bpf_rstat_kfunc_ids", "bpf_test_modify_return_ids")
_ON_RETURN = (Interface.FEXIT, Interface.FMOD_RET, Interface.FSESSION)


def attach_by_trampoline(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """Whether the function has what a trampoline needs."""
    missing = no_trampolines(asked)
    if missing is not None:
        return [missing]
    if wanted.module and not asked.rules.bring(wanted.module):
        message = f"the module {wanted.module} is not to be had for this kernel"
        return [Finding(Kind.MODULE, message, errno.ENOENT, Reason.MODULE_NOT_LOADED)]
    name = wanted.target
    found = asked.functions_named(name, wanted.module)
    if not found:
        return absent(asked, wanted, errno.ESRCH)
    if not asked.is_typed(name, wanted.module):
        return [_no_id(asked, wanted)]
    refusal = _denied(asked, wanted) or sleepless_function(asked, wanted, found[0].address)
    if refusal is not None:
        return [refusal]
    if not asked.is_traceable(found[0]):
        message = f"ftrace cannot trace {name}, though BTF lists it"
        return [Finding(Kind.NOT_TRACEABLE, message, errno.EBUSY, Reason.NOT_TRACEABLE)]
    findings = [Finding(Kind.FTRACE, "by a trampoline that ftrace calls", found_by="btf")]
    if len(found) > 1:
        text = f"{len(found)} functions are named {name}: the first is traced"
        findings.append(Finding(Kind.DUPLICATE, text))
    elif asked.types_named(name, wanted.module) > 1:
        text = f"BTF has several functions of the name {name}: libbpf takes the first, Go's "
        text += "loaders none"
        findings.append(Finding(Kind.DUPLICATE, text, found_by="btf"))
    if wanted.interface is Interface.FMOD_RET:
        findings += _not_modifiable(asked, wanted, found[0].address)
    return findings


def no_trampolines(asked: KernelFacts) -> Finding | None:
    """Whether the kernel has BTF, and ftrace's direct calls, which trampolines are."""
    if asked.btf is None:
        return Finding(
            Kind.NO_BTF,
            "this kernel carries no BTF (CONFIG_DEBUG_INFO_BTF=n), so nothing has an id",
            errno=errno.EINVAL,
            instead=("a kprobe",),
            found_by="btf",
        )
    if not asked.has(*_DIRECT_CALLS):
        since = _SINCE[asked.kernel.arch]
        return Finding(
            Kind.UNSUPPORTED,
            f"this kernel has no direct calls of ftrace{since}, so nothing calls a trampoline",
            errno=ENOTSUPP,
            rule=Reason.NOT_IN_THIS_KERNEL,
            instead=("a kprobe",),
        )
    return None


def _no_id(asked: KernelFacts, wanted: Wanted) -> Finding:
    name = wanted.target
    facts = asked.facts(name)
    if facts.twins > 1:
        why = "several functions have that name with different prototypes"
    elif facts.traceable:
        why = "its signature was changed by the compiler, so pahole left it out"
    else:
        why = "ftrace cannot trace it, so pahole left it out"
    return Finding(
        Kind.NO_BTF,
        f"{name} is a function, and has no id in BTF: {why}",
        errno=errno.ESRCH,
        instead=(f"kprobe:{name}",),
        found_by="btf",
    )


def _denied(asked: KernelFacts, wanted: Wanted) -> Finding | None:
    """Functions that the trampoline itself runs through, and those that never return."""
    name = wanted.target
    why = ""
    if name in asked.btf_set("btf_id_deny"):
        why = "trampolines themselves run through it (btf_id_deny)"
    elif wanted.interface in _ON_RETURN and name in asked.btf_set("noreturn_deny"):
        why = "it never returns (noreturn_deny)"
    if not why:
        return None
    return Finding(
        Kind.BLACKLISTED,
        f"{name} takes no {wanted.interface}: {why}",
        errno=errno.EINVAL,
        rule=Reason.BLACKLISTED,
        found_by="btf",
    )


def _not_modifiable(asked: KernelFacts, wanted: Wanted, address: int) -> list[Finding]:
    """``check_attach_modify_return()``: the list of error injection, or a security hook."""
    if wanted.target.startswith("security_") or address in asked.known.error_injection:
        return []
    if any(wanted.target in asked.btf_set(name, flags=True) for name in _MODIFIED):
        return []
    return [
        Finding(
            Kind.NOT_OVERRIDABLE,
            f"{wanted.target} is neither on the list of error injection nor a security_ hook",
            errno=errno.EINVAL,
            rule=Reason.NOT_ERROR_INJECTABLE,
            instead=("fentry or fexit, which only look",),
        )
    ]
