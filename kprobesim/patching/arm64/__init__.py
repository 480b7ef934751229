"""What arch/arm64/kernel patches in the kernel's code while it boots, one kind a file."""

from __future__ import annotations

from kprobesim.patching.arm64.alternatives import apply_alternatives
from kprobesim.patching.arm64.capabilities import capabilities
from kprobesim.patching.arm64.sites import apply_jump_labels, make_ftrace_nops
from kprobesim.patching.static_keys import labels_by_keys, switched_labels
from kprobesim.patching.text import Code

__all__ = ["patch", "patch_module"]


def patch(code: Code, *, static_keys: bool) -> None:
    """All of it, in the order of the boot."""
    if static_keys:
        apply_jump_labels(code, switched_labels(code))
    make_ftrace_nops(code)
    apply_alternatives(code, capabilities(code))


def patch_module(code: Code, kernel: Code) -> None:
    """What is patched in a module while it is loaded, in that order."""
    apply_alternatives(code, capabilities(kernel))
    make_ftrace_nops(code)
    apply_jump_labels(code, labels_by_keys(code))
