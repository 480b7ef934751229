"""ARM64: which words may be probed, what their slot holds, and what simulates the others."""

from __future__ import annotations

from kprobesim.arch.arm64.decode import Insn, check_exclusive_sequence, classify, needs_slot
from kprobesim.arch.arm64.options import Options
from kprobesim.arch.arm64.prepare import ArchInsn, prepare

__all__ = [
    "ArchInsn",
    "Insn",
    "Options",
    "check_exclusive_sequence",
    "classify",
    "needs_slot",
    "prepare",
]
