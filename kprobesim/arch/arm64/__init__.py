"""ARM64: which words may be probed, what their slot holds, and what simulates the others."""

from __future__ import annotations

from kprobesim.arch.arm64.decode import Insn, check_exclusive_sequence, classify, needs_slot
from kprobesim.arch.arm64.options import Options
from kprobesim.arch.arm64.prepare import ArchInsn, prepare
from kprobesim.arch.arm64.resume import (
    faulted_in_slot,
    finish_step,
    resume_pc,
    start_step,
    step_end,
)

__all__ = [
    "ArchInsn",
    "Insn",
    "Options",
    "check_exclusive_sequence",
    "classify",
    "faulted_in_slot",
    "finish_step",
    "needs_slot",
    "prepare",
    "resume_pc",
    "start_step",
    "step_end",
]
