"""What arch/x86/kernel patches in the kernel's code while it boots, one kind a file."""

from __future__ import annotations

from kprobesim.patching.static_keys import labels_by_keys, switched_labels
from kprobesim.patching.text import Code
from kprobesim.patching.x86_64.alternatives import alternatives_layout, apply_alternatives
from kprobesim.patching.x86_64.features import cpu_features
from kprobesim.patching.x86_64.jump_labels import apply_jump_labels
from kprobesim.patching.x86_64.paravirt import apply_paravirt
from kprobesim.patching.x86_64.sites import (
    apply_returns,
    make_ftrace_nops,
    seal_endbr,
    set_runtime_constants,
    unlock_smp,
)
from kprobesim.patching.x86_64.static_calls import (
    apply_module_static_calls,
    apply_static_calls,
)

__all__ = ["patch", "patch_module"]


def patch(code: Code, *, static_keys: bool) -> None:
    """All of it, in the order of the boot: static calls and ftrace first."""
    if static_keys:
        apply_jump_labels(code, switched_labels(code))
    apply_static_calls(code)
    make_ftrace_nops(code)
    set_runtime_constants(code)
    apply_paravirt(code)
    apply_returns(code)
    apply_alternatives(code, cpu_features(code))
    seal_endbr(code)
    unlock_smp(code, code.image.text_ranges)


def patch_module(code: Code, kernel: Code) -> None:
    """What is patched in a module while it is loaded, in that order (module_finalize())."""
    apply_paravirt(code)
    apply_returns(code)
    apply_alternatives(code, cpu_features(kernel), alternatives_layout(kernel))
    seal_endbr(code)
    address, size = code.image.sections.get(".text", (0, 0))
    unlock_smp(code, [(address, address + size)])
    make_ftrace_nops(code)
    apply_jump_labels(code, labels_by_keys(code))
    apply_module_static_calls(code)
