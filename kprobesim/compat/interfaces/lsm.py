"""LSM hooks of BPF: a trampoline on ``bpf_lsm_HOOK``, which the kernel must call.

kernel/bpf/bpf_lsm.c; which modules of security are on: ``ordered_lsm_init()`` of security.c.
"""

from __future__ import annotations

import errno

from kprobesim.compat.finding import Finding
from kprobesim.compat.instead import became, nearest
from kprobesim.compat.interfaces.sleepable import sleepless_hook
from kprobesim.compat.interfaces.trampoline import no_trampolines
from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.compat.kinds import Kind
from kprobesim.errors import Reason
from kprobesim.sources.wanted import Interface, Wanted

__all__ = ["attach_to_hook", "uncalled"]

_PREFIX = "bpf_lsm_"


def attach_to_hook(asked: KernelFacts, wanted: Wanted) -> list[Finding]:
    """Whether the hook is there, takes programs, and is called."""
    hook = wanted.target
    missing = no_trampolines(asked)
    if missing is not None:
        return [missing]
    hooks = [n.removeprefix(_PREFIX) for n in asked.function_names.starting(_PREFIX)]
    if not hooks:
        return [
            Finding(
                Kind.CONFIG,
                "this kernel was built without CONFIG_BPF_LSM",
                errno.EINVAL,
                instead=(f"fmod_ret/security_{hook}", f"kprobe:security_{hook}"),
            )
        ]
    if hook not in hooks:
        return [_no_hook(hook, hooks)]
    if not asked.is_typed(_PREFIX + hook):
        text = f"{_PREFIX}{hook} has no id in BTF"
        return [Finding(Kind.NO_BTF, text, errno.ESRCH, found_by="btf")]
    if _PREFIX + hook in asked.btf_set("bpf_lsm_disabled_hooks"):
        text = f"this kernel takes no program on {hook} (bpf_lsm_disabled_hooks)"
        return [Finding(Kind.BLACKLISTED, text, errno.EINVAL, Reason.BLACKLISTED)]
    sleepless = sleepless_hook(asked, wanted, _PREFIX + hook)
    if sleepless is not None:
        return [sleepless]
    if wanted.interface is Interface.LSM_CGROUP and not asked.has("__cgroup_bpf_run_lsm_current"):
        text = "this kernel has no LSM programs of control groups: they came in 6.0"
        return [Finding(Kind.UNSUPPORTED, text, errno.EINVAL, Reason.NOT_IN_THIS_KERNEL)]
    findings = [Finding(Kind.ATTACHED, f"by a trampoline on {_PREFIX}{hook}", found_by="btf")]
    findings += uncalled(asked, _PREFIX + hook)
    return findings


def uncalled(asked: KernelFacts, function: str) -> list[Finding]:
    """That nothing calls the functions of BPF's hooks, where its LSM is not switched on."""
    order = asked.lsm_order if function.startswith(_PREFIX) else None
    if order is None or "bpf" in order:
        return []
    return [
        Finding(
            Kind.NEVER,
            f"it attaches and is never called: bpf is not among {','.join(order)} (CONFIG_LSM)",
            instead=(f"boot with lsm={','.join((*order, 'bpf'))}",),
            certainty="likely",
        )
    ]


def _no_hook(hook: str, hooks: list[str]) -> Finding:
    """Hooks are renamed with the functions that call them."""
    by_function = {_function(one): one for one in hooks}
    step = became(_function(hook), by_function)
    if step is not None:
        kind, why = step.kind, ": it was renamed"
        instead = tuple(by_function[name] for name in step.names)
    else:
        kind, why, instead = Kind.ABSENT, "", tuple(nearest(hook, hooks))
    text = f"there is no LSM hook {hook}{why}"
    return Finding(kind, text, errno.ESRCH, Reason.UNKNOWN_SYMBOL, instead=instead)


def _function(hook: str) -> str:
    """``security_bpf_map_alloc`` calls the hook ``bpf_map_alloc_security``, most theirs."""
    return f"security_{hook.removesuffix('_security')}"
