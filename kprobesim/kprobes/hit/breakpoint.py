"""Hits of breakpoints in guest memory, and of the single steps that follow some of them.

kprobe_handler() and kprobe_debug_handler() of arch/x86/kernel/kprobes/core.c, and
kprobe_breakpoint_handler() of arch/arm64/kernel/probes/kprobes.c (6.1 and before).
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.kprobes.hit.common import STEPPING, HitSteps, make_hit
from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["BreakpointHits"]


class BreakpointHits:
    """Takes one CPU's breakpoint traps for the armed probes in ``table``.

    Attributes:
        trap: Whether the breakpoint that the CPU is at was a probe's, or one of ``places``.
        places: Breakpoints of ours at fixed places, by address; each answers whether it was meant.
    """

    def __init__(
        self,
        steps: HitSteps,
        table: dict[int, Kprobe],
        *,
        single_step: bool,
        strict: bool = False,
    ) -> None:
        """Make the trap's handler.

        Args:
            steps: What hits have in common, on this CPU.
            table: The probe, or the head of several, by address.
            single_step: Whether copies are stepped by the CPU, and not up to a breakpoint.
            strict: A breakpoint that older kernels would hit again and again is hit so.
        """
        self._steps = steps
        self._strict = strict
        self.alone = True
        """Whether nobody else would know what a breakpoint means that is no probe's."""
        self.single_step = single_step
        self.places: dict[int, Callable[[], bool]] = {}
        self.trap: Callable[[], bool] = make_hit(
            steps,
            table,
            single_step=single_step,
            places=self.places,
            otherwise=self._make_otherwise(),
        )

    def _make_otherwise(self) -> Callable[[int], bool]:
        ctl, finish, vanished = self._steps.ctlblk, self._steps.finish, self._vanished

        def otherwise(address: int) -> bool:
            """No probe's: is it the one behind a copy in its slot?"""
            p = ctl.current_kprobe
            if p is not None and ctl.kprobe_status & STEPPING:
                ainsn = p.ainsn
                if ainsn.insn is not None and address == ainsn.insn + ainsn.size:
                    return finish(p, ainsn)
            return vanished(address)

        return otherwise

    def _vanished(self, address: int) -> bool:
        """A breakpoint, and no probe: was it one that has been taken out since?

        Current kernels leave it to others. Older ones try the instruction again if the breakpoint
        has gone (x86), or in any case (ARM64, which can last for ever: only ``strict`` does that).
        """
        arch, machine = self._steps.arch, self._steps.machine
        if arch.vanished == "report" or not address >> 63 or not self.alone:
            return False
        found = machine.memory.read(address, len(arch.isa.breakpoint))
        again = self._strict and arch.vanished == "retry" and found == arch.isa.breakpoint
        if not again and arch.is_breakpoint(found):
            return False
        machine.words[machine.engine.layout.pc] = address
        return True
