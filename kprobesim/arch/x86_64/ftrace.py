"""Probes on the place that ftrace patches at a function's entry: no slot, the NOP is skipped.

prepare_kprobe() and kprobe_ftrace_handler() (kernel/kprobes.c, arch/x86/kernel/kprobes/ftrace.c,
6.1): handlers see the same registers as behind an INT3.
"""

from __future__ import annotations

from kprobesim.arch.x86_64.constants import CALL_SIZE
from kprobesim.arch.x86_64.interfaces import Emulate, Memory, Registers
from kprobesim.sizes import MASK64

__all__ = ["FtraceInsn"]


class FtraceInsn:
    """The 5-byte NOP at ``address``, as the instruction of a probe."""

    __slots__ = ("emulate",)

    insn = None
    size = CALL_SIZE
    boostable = False
    emulate_kind = "ftrace"
    slot_bytes = b""
    fix_up = None
    late_boost = None
    falls_through = True
    repeats = False
    ends_block = False
    shadows = False

    def __init__(self, address: int) -> None:
        after = (address + CALL_SIZE) & MASK64

        def skip(regs: Registers, memory: Memory) -> None:
            regs.ip = after

        self.emulate: Emulate = skip
        """Goes on behind the NOP."""

    def boosted(self) -> FtraceInsn:
        """There is nothing to boost."""
        return self
