"""Single instructions of ARM64 that boot patches: ftrace's and those of jump labels."""

from __future__ import annotations

from collections.abc import Iterable

from kprobesim.patching.arm64.words import MOV_X9_LR, NOP, branch
from kprobesim.patching.static_keys import JumpLabel
from kprobesim.patching.text import Code

__all__ = ["apply_jump_labels", "make_ftrace_nops"]


def make_ftrace_nops(code: Code) -> None:
    """Of the two NOPs at a function's entry the first saves the return address.

    That makes a call in place of the second possible (ftrace_init_nop(), 5.5).
    """
    new = MOV_X9_LR.to_bytes(4, "little")
    sites = code.image.ftrace_sites
    for _, data, at in code.each((site - 4 for site in sites), 4):
        data[at : at + 4] = new
    ops = code.symbol("ftrace_nop_ops")
    if ops is not None:
        # CALL_OPS (6.3): in front of the function stands whom to call, and that is what is listed.
        listed = set(code.image.mcount_sites)
        literals = (place for site in sites if (place := site - 12 & ~7) in listed)
        for _, data, at in code.each(literals, 8):
            data[at : at + 8] = ops.to_bytes(8, "little")


def apply_jump_labels(code: Code, wanted: Iterable[JumpLabel]) -> None:
    """Let the labels be as ``wanted``."""
    for label in wanted:
        word = branch(label.place, label.target) if label.jumps else NOP
        for _, data, at in code.each([label.place], 4):
            data[at : at + 4] = word.to_bytes(4, "little")
