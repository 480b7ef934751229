"""What arch/arm64/kernel patches in the kernel's code while it boots, one kind a file."""

from __future__ import annotations

from kprobesim.arch.arm64.patching.alternatives import apply_alternatives
from kprobesim.arch.arm64.patching.capabilities import capabilities
from kprobesim.arch.arm64.patching.sites import apply_jump_labels, make_ftrace_nops
from kprobesim.arch.code import Code

__all__ = ["patch"]


def patch(code: Code, *, static_keys: bool) -> None:
    """All of it, in the order of the boot."""
    if static_keys:
        apply_jump_labels(code)
    make_ftrace_nops(code)
    apply_alternatives(code, capabilities(code))
