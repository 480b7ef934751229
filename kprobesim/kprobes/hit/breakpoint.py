"""Hits of breakpoints in guest memory, and of the single steps that follow some of them.

kprobe_handler() and kprobe_debug_handler() of arch/x86/kernel/kprobes/core.c, and
kprobe_breakpoint_handler() of arch/arm64/kernel/probes/kprobes.c (6.1 and before).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from kprobesim.errors import GuestMemoryError
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.events import HitKind
from kprobesim.kprobes.hit.common import STEPPING, HitSteps, goes_elsewhere, references_of_nobody
from kprobesim.kprobes.kprobe import HandlerAbandoned, Kprobe

__all__ = ["BreakpointHits"]

_ACTIVE = int(KprobeStatus.KPROBE_HIT_ACTIVE)
_SS = int(KprobeStatus.KPROBE_HIT_SS)
_REENTER = int(KprobeStatus.KPROBE_REENTER)


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
        self.trap: Callable[[], bool] = self._make_trap(table)

    def _make_trap(self, table: dict[int, Kprobe]) -> Callable[[], bool]:
        """The ladder of a hit, from the trap to the instruction, as a closure.

        It is one function, which the CPU's traps call: each further frame costs a hit 50 ns.
        """
        steps, single_step, places = self._steps, self.single_step, self.places
        vcpu, ctl, finish = steps.vcpu, steps.ctlblk, steps.finish
        words, memory, cpu = vcpu.engine.window, steps.machine.memory, vcpu.cpu
        pc, flags = vcpu.engine.layout.pc, vcpu.engine.layout.flags
        mask, masked = cpu.step_flags(single_step=single_step)
        unmasked, saves_early = ~mask, steps.arch.saves_flags_at_hit
        trap_offset = steps.arch.isa.breakpoint_offset
        boosts_always = not steps.arch.boost_ends_at_post
        reenter, emulation_fault = steps.reenter, steps.emulation_fault
        references, unshared = sys.getrefcount, references_of_nobody(vcpu)
        listeners, tell, otherwise = steps.listeners, steps.tell, self._make_otherwise()

        def trap() -> bool:
            address = words[pc] - trap_offset
            p = table.get(address)
            if p is None:
                place = places.get(address)
                return (place is not None and place()) or otherwise(address)

            if ctl.current_kprobe is not None:
                if reenter(p):
                    return True
            else:
                ctl.current_kprobe = p
                ctl.kprobe_status = _ACTIVE
                if saves_early:
                    ctl.kprobe_saved_flags = words[flags] & mask
                if listeners:
                    tell(HitKind.HIT, p, _ACTIVE)
                handler: Any = p.pre_handler
                if handler is not None:  # as call_handler() does
                    regs = vcpu.regs
                    vcpu.in_handler = True
                    try:
                        answer = handler(p, regs)
                    except HandlerAbandoned:
                        answer = None
                    vcpu.in_handler = False
                    if references(regs) > unshared:
                        vcpu.replace_regs(regs)
                    del regs  # or the post_handler's would seem to be kept
                    if answer and (type(answer) is int or goes_elsewhere(vcpu, answer, p)):
                        ctl.current_kprobe = None
                        if listeners:
                            tell(HitKind.MOVED, p, 0)
                        return True

            # Does it go on by itself, and nobody waits for the instruction's end?
            ainsn, goes_on = p.ainsn, p.detour
            if goes_on is None and ainsn.boostable and (boosts_always or p.post_handler is None):
                goes_on = ainsn.insn
            if goes_on is not None:
                words[pc] = goes_on
                if listeners:
                    tell(HitKind.BOOST if p.detour is None else HitKind.DETOUR, p, 0)
                if ctl.kprobe_status != _REENTER:
                    ctl.current_kprobe = None
                else:
                    ctl.restore_previous_kprobe()
                return True

            if ainsn.emulate is not None:
                try:
                    ainsn.emulate(vcpu.regs, memory)
                except GuestMemoryError as error:
                    return emulation_fault(p, error)
                if listeners:
                    tell(HitKind.EMULATE, p, ctl.kprobe_status)
                return finish(p)

            # setup_singlestep(): mask interrupts, and let the CPU trap if no breakpoint will.
            old = words[flags]
            if ctl.kprobe_status != _REENTER:
                ctl.kprobe_status = _SS
            if not saves_early:
                ctl.kprobe_saved_flags = old & mask
            words[flags] = old & unmasked | masked
            words[pc] = ainsn.insn
            if single_step:
                cpu.set_single_step(True)
            if listeners:
                tell(HitKind.STEP, p, ctl.kprobe_status)
            return True

        return trap

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
        was_ours = self.alone or self._steps.vcpu.arriving
        if arch.vanished == "report" or not address >> 63 or not was_ours:
            return False
        found = machine.memory.read(address, len(arch.isa.breakpoint))
        again = self._strict and arch.vanished == "retry" and found == arch.isa.breakpoint
        if not again and arch.is_breakpoint(found):
            return False
        machine.words[machine.engine.layout.pc] = address
        return True
