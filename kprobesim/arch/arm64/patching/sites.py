"""Single instructions of ARM64 that boot patches: ftrace's and those of jump labels."""

from __future__ import annotations

from kprobesim.arch.arm64.patching.words import MOV_X9_LR, NOP, branch
from kprobesim.arch.code import Code
from kprobesim.arch.static_keys import switched_labels

__all__ = ["apply_jump_labels", "make_ftrace_nops"]


def make_ftrace_nops(code: Code) -> None:
    """Of the two NOPs at a function's entry the first saves the return address.

    That makes a call in place of the second possible (ftrace_init_nop(), 5.5).
    """
    new = MOV_X9_LR.to_bytes(4, "little")
    for _, data, at in code.each((site - 4 for site in code.image.ftrace_sites), 4):
        data[at : at + 4] = new


def apply_jump_labels(code: Code) -> None:
    """Switch those whose keys boot switches."""
    for label in switched_labels(code):
        word = branch(label.place, label.target) if label.jumps else NOP
        for _, data, at in code.each([label.place], 4):
            data[at : at + 4] = word.to_bytes(4, "little")
