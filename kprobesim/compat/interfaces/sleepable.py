"""Programs that may sleep (``fentry.s``, ``lsm.s``): which functions take them.

``check_attach_sleepable()`` and ``check_non_sleepable_error_inject()`` of kernel/bpf/verifier.c,
``bpf_lsm_is_sleepable_hook()`` of kernel/bpf/bpf_lsm.c (5.10 to 7.2).
"""

from __future__ import annotations

import errno

from kprobesim.compat.finding import Finding
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Wanted

__all__ = ["sleepless_function", "sleepless_hook"]

_HOOKS = ("sleepable_lsm_hooks", "btf_sleepable_lsm_hooks")
_NEVER = "btf_non_sleepable_error_inject"


def sleepless_function(asked: KernelFacts, wanted: Wanted, address: int) -> Finding | None:
    """Why a trampoline on a function takes no program that may sleep."""
    if not wanted.sleepable:
        return None
    name, listed = wanted.target, asked.known.error_injection
    if name in asked.btf_set(_NEVER):
        return _no(wanted, f"{name} is called where nobody may sleep ({_NEVER})")
    if address in listed:
        return None
    why = "" if listed else ", and this kernel has none (CONFIG_FUNCTION_ERROR_INJECTION=n)"
    return _no(
        wanted,
        f"{name} takes no program that may sleep: only functions on the list of error injection "
        f"do{why}",
    )


def sleepless_hook(asked: KernelFacts, wanted: Wanted, function: str) -> Finding | None:
    """Why an LSM hook, which is ``function``, takes no program that may sleep."""
    if not wanted.sleepable:
        return None
    sets = [found for name in _HOOKS if (found := asked.btf_set(name))]
    if not sets or any(function in found for found in sets):
        return None
    return _no(wanted, f"the hook {wanted.target} is called where nobody may sleep ({_HOOKS[0]})")


def _no(wanted: Wanted, why: str) -> Finding:
    return Finding(
        Kind.UNSUPPORTED,
        why,
        errno=errno.EINVAL,
        rule=Reason.NOT_IN_THIS_KERNEL,
        instead=(f"{wanted.interface}/{wanted.target}, which does not sleep",),
        found_by="btf",
    )
