"""Hits of hooks: the CPU stops before the instruction, which is as it always was.

It runs in its place: by itself if nobody waits for its end. Else it is emulated where the kernel
would; or it runs by itself all the same, and the CPU stops once more before the instruction behind
it; or, where that is not sure to come next, by the CPU's single step.
"""

from __future__ import annotations

import sys
from typing import Any

from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.events import HitKind
from kprobesim.kprobes.hit.common import STEPPING, HitSteps, goes_elsewhere, references_of_nobody
from kprobesim.kprobes.hit.in_place import InPlace
from kprobesim.kprobes.hooked import UNKNOWN, HookedPlaces
from kprobesim.kprobes.kprobe import HandlerAbandoned, Kprobe
from kprobesim.machine.code_watch import UnguardedArrival

__all__ = ["HookHits"]

_ACTIVE = int(KprobeStatus.KPROBE_HIT_ACTIVE)
_SS = int(KprobeStatus.KPROBE_HIT_SS)
_REENTER = int(KprobeStatus.KPROBE_REENTER)
_SSDONE = int(KprobeStatus.KPROBE_HIT_SSDONE)


class HookHits:
    """Takes one CPU's hits of the hooked probes in ``table``.

    Attributes:
        hit: The hook's callback.
        hit_repeating: The same for an instruction that comes to itself until it is done.
        behind: The callback of the hook behind an instruction that a handler waits for.
        in_place: How instructions run where they are.
    """

    def __init__(self, steps: HitSteps, table: dict[int, Kprobe], hooked: HookedPlaces) -> None:
        """Make the callbacks from the CPU's ``steps`` and the probes by address."""
        self.in_place = InPlace(steps, hooked)
        self.hit = self._make_hit(steps, table, hooked, repeats=False)
        self.hit_repeating = self._make_hit(steps, table, hooked, repeats=True)
        self.behind = self._make_behind(steps)

    def _make_hit(
        self, steps: HitSteps, table: dict[int, Kprobe], hooked: HookedPlaces, *, repeats: bool
    ) -> UnguardedArrival:
        """The ladder of a hit, from the hook to the instruction, as a closure.

        It is one function, which Unicorn calls: each further frame costs a hit 50 ns. It answers
        whether the CPU leaves its block.
        """
        in_place, vcpu, ctl = self.in_place, steps.vcpu, steps.ctlblk
        words, counter, code_pages = vcpu.engine.window, in_place.counter, in_place.code_pages
        memory, ends, known = steps.machine.memory, hooked.ends, hooked.code
        pc, flags = vcpu.engine.layout.pc, vcpu.engine.layout.flags
        mask, masked = vcpu.cpu.step_flags(single_step=False)
        unmasked, saves_early = ~mask, steps.arch.saves_flags_at_hit
        trap_offset, reenter = steps.arch.isa.breakpoint_offset, steps.reenter
        references, unshared = sys.getrefcount, references_of_nobody(vcpu)
        listeners, tell, keep = steps.listeners, steps.tell, vcpu.engine.hooks.keep

        def hit(_uc: object, address: int) -> bool:
            try:
                running = ctl.current_kprobe
                if running is not None and ctl.kprobe_status & STEPPING and running.addr == address:
                    return False  # here again, now to be done
                if address == in_place.arrives_again:
                    in_place.arrives_again = None
                    return False
                p = table.get(address)
                if p is None:
                    return False  # a handler in the same block has taken it out
                words[pc] = address + trap_offset

                if running is not None:
                    if reenter(p):
                        return in_place.leave()
                else:
                    ctl.current_kprobe = p
                    ctl.kprobe_status = _ACTIVE
                    if saves_early:
                        at_hit = words[flags]
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
                            return in_place.leave()
                words[pc] = address

                # Does nobody wait for the instruction's end? (If it repeats itself, the hit does.)
                if p.post_handler is None and p.fault_handler is None and not repeats:
                    ainsn = None
                else:
                    place, code = known.get(address, UNKNOWN)
                    ainsn = p.ainsn if memory.ram[place] == code else hooked.refresh(p)
                if ainsn is None:
                    if ctl.kprobe_status != _REENTER:
                        ctl.current_kprobe = None
                    else:
                        ctl.restore_previous_kprobe()
                    return code_pages.written and in_place.start_anew(address)

                if ainsn.emulate is not None:
                    return in_place.emulate(p, ainsn)

                # setup_singlestep(): mask interrupts.
                old = words[flags]
                if ctl.kprobe_status != _REENTER:
                    ctl.kprobe_status = _SS
                    ctl.kprobe_saved_flags = (at_hit if saves_early else old) & mask
                elif not saves_early:
                    ctl.kprobe_saved_flags = old & mask
                words[flags] = old & unmasked | masked
                if listeners:
                    tell(HitKind.STEP, p, ctl.kprobe_status)
                behind = address + ainsn.size
                if ends.get(address) != behind or code_pages.written:
                    return in_place.step(p, ainsn)
                in_place.behind = behind
                if counter[0] >= counter[1]:
                    in_place.run_to(behind)
                return False
            except BaseException as error:
                keep(error)
                return True

        return hit

    def _make_behind(self, steps: HitSteps) -> UnguardedArrival:
        """The rest of a hit, from where an instruction that ran by itself is done."""
        in_place, vcpu, ctl = self.in_place, steps.vcpu, steps.ctlblk
        engine, code_pages = vcpu.engine, in_place.code_pages
        words = engine.window
        pc, flags = engine.layout.pc, engine.layout.flags
        unmasked = ~vcpu.cpu.step_flags(single_step=False)[0]
        listeners, finish, keep = steps.listeners, steps.finish, engine.hooks.keep
        references, unshared = sys.getrefcount, references_of_nobody(vcpu)

        def behind(_uc: object, address: int) -> bool:
            if address != in_place.behind:
                return False  # it came from elsewhere, or nobody waited
            in_place.behind = None
            try:
                p = ctl.current_kprobe
                over = engine.extra_count[0] and in_place.end_last()
                if p is None or not ctl.kprobe_status & STEPPING:
                    return False
                if listeners or ctl.kprobe_status == _REENTER:
                    finish(p, p.ainsn)
                else:  # as finish() does
                    words[flags] = words[flags] & unmasked | ctl.kprobe_saved_flags
                    words[pc] = address
                    ctl.kprobe_status = _SSDONE
                    handler: Any = p.post_handler
                    if handler is not None:
                        regs = vcpu.regs
                        vcpu.in_handler = True
                        try:  # noqa: SIM105 (suppress() would take a third of a microsecond)
                            handler(p, regs, 0)
                        except HandlerAbandoned:
                            pass
                        vcpu.in_handler = False
                        if references(regs) > unshared:
                            vcpu.replace_regs(regs)
                    ctl.current_kprobe = None
                if words[pc] != address:
                    return in_place.leave()
                return bool(over or code_pages.written) and in_place.start_over()
            except BaseException as error:
                keep(error)
                return True

        return behind
