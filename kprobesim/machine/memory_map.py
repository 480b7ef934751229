"""Where memory of our own making lies in a called guest: one table, of which nothing overlaps.

Offsets from the start of the modules' area, which is within reach of the kernel's calls and jumps.
"""

from __future__ import annotations

from kprobesim.late_dataclasses import dataclass

__all__ = ["AREAS", "CALLBACKS", "CODE", "DETOURS", "MODULES", "SLOTS", "TRAMPOLINE", "Area"]

_MIB = 1 << 20


@dataclass(frozen=True)
class Area:
    """A part of the modules' area.

    Attributes:
        name: What is there.
        offset: Its start, from the start of the modules' area.
        size: How much may be mapped there; ``None``: what is left. It may also grow into what lies
            behind it, where that is free.
    """

    name: str
    offset: int
    size: int | None


SLOTS = Area("kprobe_insn_page", 0, 16 * _MIB)
DETOURS = Area("kprobe_optinsn_page", 16 * _MIB, 8 * _MIB)
CALLBACKS = Area("kprobe optimized_callback", 24 * _MIB, 8 * _MIB)
TRAMPOLINE = Area("kretprobe trampoline", 32 * _MIB, _MIB)
MODULES = Area("modules", 33 * _MIB, 31 * _MIB)
CODE = Area("executable memory", 64 * _MIB, None)
AREAS = (SLOTS, DETOURS, CALLBACKS, TRAMPOLINE, MODULES, CODE)
"""All of them, from below."""
