"""Jump labels as boot leaves them (arch/x86/kernel/jump_label.c)."""

from __future__ import annotations

from collections.abc import Iterable

from kprobesim.patching.static_keys import JumpLabel
from kprobesim.patching.text import Code, branch
from kprobesim.patching.x86_64.nops import NOPS, atomic_nop

__all__ = ["apply_jump_labels"]

_JMP8, _JMP32 = 0xEB, 0xE9
_SHORT = (_JMP8, 0x66)  # the jump and the NOP of two bytes


def apply_jump_labels(code: Code, wanted: Iterable[JumpLabel]) -> None:
    """Let the labels be as ``wanted``."""
    nop = atomic_nop(code.image.version)
    labels = {label.place: label for label in wanted}
    for place, data, at in code.each(labels, 5):
        size = 2 if data[at] in _SHORT else 5
        label = labels[place]
        if not label.jumps:
            new = NOPS[2] if size == 2 else nop
        elif size == 2:
            new = bytes([_JMP8, (label.target - place - 2) & 0xFF])
        else:
            new = branch(_JMP32, place, label.target)
        data[at : at + size] = new
