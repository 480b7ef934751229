"""What every kind of hit has in common on one CPU: entering, handlers, finishing, leaving.

The states and their order are those of kprobe_handler(), setup_singlestep() and
resume_singlestep() (arch/x86/kernel/kprobes/core.c, arch/arm64/kernel/probes/kprobes.c, 6.1). This
is the hot path: closures over one CPU's words, registers as words, nothing allocated. See
docs/life-of-a-hit.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from kprobesim.errors import GuestMemoryError
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes
from kprobesim.kprobes.ctlblk import KprobeCtlblk, KprobeStatus
from kprobesim.kprobes.events import HitKind, HitListeners
from kprobesim.kprobes.kprobe import HandlerAbandoned, Kprobe, is_true
from kprobesim.machine.faults import GuestBug
from kprobesim.machine.trap import Trap, TrapKind, page_fault_of
from kprobesim.machine.unicorn.code_pages import CodePages
from kprobesim.machine.vcpu import Vcpu

__all__ = [
    "STEPPING",
    "CallHandler",
    "Finish",
    "HitSteps",
    "InPlace",
    "make_call_handler",
    "make_hit",
]

CallHandler = Callable[..., Any]
"""``call_handler(handler, subject, flags=None)``: the one way to a handler of a user's."""
Finish = Callable[..., bool]
"""``finish(p, ainsn=None)``; see :class:`HitSteps`."""

_ACTIVE = int(KprobeStatus.KPROBE_HIT_ACTIVE)
_SS = int(KprobeStatus.KPROBE_HIT_SS)
_REENTER = int(KprobeStatus.KPROBE_REENTER)
_SSDONE = int(KprobeStatus.KPROBE_HIT_SSDONE)
STEPPING = _SS | _REENTER
"""The states in which a probed instruction, or its copy, is on its way."""


def goes_elsewhere(vcpu: Vcpu, answer: object, p: Kprobe) -> bool:
    """Whether a pre_handler's odd ``answer`` says so; if it is none, its hit ends with an error."""
    vcpu.in_handler = True
    moved = is_true(answer, "pre_handler", p)
    vcpu.in_handler = False
    return moved


def references_of_nobody(vcpu: Vcpu) -> int:
    """The count of references to a ``PtRegs`` that no handler has kept, asked as a hit asks."""
    regs = vcpu.regs
    return sys.getrefcount(regs)


def make_call_handler(vcpu: Vcpu) -> CallHandler:
    """How handlers are called on ``vcpu``, as a closure.

    A handler whose memory access faulted for good has ended there. One that kept its ``regs`` gets
    them frozen: whether it did is told by their count of references, compared with that of a
    ``PtRegs`` that nobody kept.
    """
    references, unshared = sys.getrefcount, references_of_nobody(vcpu)

    def call_handler(handler: Callable[..., Any], subject: object, flags: int | None = None) -> Any:
        """``handler(subject, regs)``, or with ``flags`` as a third argument; what it returned."""
        regs = vcpu.regs
        vcpu.in_handler = True
        try:
            answer = handler(subject, regs) if flags is None else handler(subject, regs, flags)
        except HandlerAbandoned:
            answer = None
        vcpu.in_handler = False
        if references(regs) > unshared:
            vcpu.replace_regs(regs)
        return answer

    return call_handler


class HitSteps:
    """The steps of a hit that do not depend on how the CPU came to it.

    Attributes:
        finish: ``finish(p)``: the probed instruction is done; ``finish(p, ainsn)``: its copy has
            been stepped. True: the trap was a probe's.
    """

    def __init__(
        self,
        vcpu: Vcpu,
        arch: ArchKprobes,
        ctlblk: KprobeCtlblk,
        listeners: HitListeners,
    ) -> None:
        self.vcpu = vcpu
        self.machine = vcpu.system
        self.arch = arch
        self.ctlblk = ctlblk
        self.listeners = listeners.callbacks
        self.tell = listeners.on(vcpu)
        self.call_handler = make_call_handler(vcpu)
        self.mask, _ = vcpu.cpu.step_flags(single_step=False)
        """The bits of the flags that a step masks."""
        self.finish = self._make_finish()

    def _make_finish(self) -> Finish:
        layout, words, ctl = self.vcpu.engine.layout, self.vcpu.words, self.ctlblk
        pc, flags, unmasked = layout.pc, layout.flags, ~self.mask
        call_handler, listeners, tell = self.call_handler, self.listeners, self.tell

        def finish(p: Kprobe, ainsn: Any = None) -> bool:
            """``resume_singlestep()``, and the post_handler's turn."""
            if ainsn is not None:
                words[flags] = words[flags] & unmasked | ctl.kprobe_saved_flags
                words[pc] = (p.addr or 0) + ainsn.size
            if ctl.kprobe_status == _REENTER:
                if listeners:
                    tell(HitKind.REENTER_DONE, p, _REENTER)
                ctl.restore_previous_kprobe()
                return True
            # Before the handler runs: a probe that it hits is missed then, and not an error.
            ctl.kprobe_status = _SSDONE
            if listeners:
                tell(HitKind.DONE, p, _SSDONE)
            handler = p.post_handler
            if handler is not None:
                call_handler(handler, p, 0)
            ctl.current_kprobe = None
            return True

        return finish

    def reenter(self, p: Kprobe) -> bool:
        """``reenter_kprobe()``: hit while another one is handled, it is counted and just executed.

        True if it has been, which for ftrace's NOP means going on behind it.
        """
        ctl, machine, vcpu = self.ctlblk, self.machine, self.vcpu
        words, layout = vcpu.words, vcpu.engine.layout
        pc = layout.pc
        if ctl.kprobe_status & self.arch.fatal:
            if p.ainsn.emulate_kind == "ftrace":  # is never stepped, so there is nothing to forget
                p.count_miss()
                if self.listeners:
                    self.tell(HitKind.MISS, p, ctl.kprobe_status)
                words[pc] = (p.addr or 0) + p.ainsn.size
                return True
            # BUG() in the kernel: only one outer probe can be remembered.
            words[pc] = p.addr or 0
            regs = vcpu.regs.copy()
            raise GuestBug(
                Trap(TrapKind.UNRECOVERABLE_KPROBE, self.arch.isa.breakpoint_number),
                regs,
                machine.symbolize(regs.ip),
                machine.unwind(regs),
                self.arch.bug_file,
                0,
            )
        p.count_miss()
        ctl.save_previous_kprobe()
        ctl.current_kprobe = p
        ctl.kprobe_status = _REENTER
        if self.arch.saves_flags_at_hit:
            ctl.kprobe_saved_flags = words[layout.flags] & self.mask
        if self.listeners:
            self.tell(HitKind.REENTER, p, _REENTER)
        return False

    def emulation_fault(self, p: Kprobe, error: GuestMemoryError) -> bool:
        """The operand of an emulated instruction cannot be reached: the fault is the address's."""
        vcpu, ctl = self.vcpu, self.ctlblk
        vcpu.words[vcpu.engine.layout.pc] = p.addr or 0
        if ctl.kprobe_status != _REENTER:
            ctl.kprobe_status = _SS
        vcpu.traps.dispatch(page_fault_of(error, vcpu.arch))
        return True


class InPlace(Protocol):
    """What is known of a probe whose instruction runs where it is: nothing has been copied."""

    arrives_again: int | None
    """The address whose hit is over, and whose block starts anew there."""
    code_pages: CodePages
    """They know if a handler has written code: what follows in the block may be another now."""
    refresh: Callable[[Kprobe], ArchInsn | None]
    """How to execute what is there now; ``None``: it is no business of the probe's."""

    def begin(self) -> None:
        """The instruction is about to be emulated."""

    def begin_step(self) -> None:
        """The CPU is about to step it."""

    def end(self) -> None:
        """It was emulated, and the guest goes on behind it."""

    def leave(self) -> bool:
        """The block ends here, and the CPU goes on at its program counter; true."""

    def start_anew(self, address: int) -> bool:
        """The block ends, and begins again at ``address``, whose hit is over; true."""


def make_hit(
    steps: HitSteps,
    table: dict[int, Kprobe],
    *,
    single_step: bool,
    places: Mapping[int, Callable[[], bool]] = MappingProxyType({}),
    otherwise: Callable[[int], bool] = lambda address: False,
    in_place: InPlace | None = None,
) -> Callable[..., bool]:
    """The ladder of a hit, from the trap to the instruction, as a closure for one CPU.

    It is one function, which the engine or its traps call: each further frame would cost a hit
    50 ns of its 600. ``hit()`` answers whether the breakpoint that the CPU is at was a probe's;
    ``hit(_, address)`` of a hook, whether the CPU leaves its block.

    Args:
        steps: What hits have in common, on this CPU.
        table: The probe, or the head of several, by address.
        single_step: Whether the CPU traps by itself behind one instruction; else a breakpoint
            stands behind its copy.
        places: Breakpoints that are no probe's, by address; each answers whether it was meant.
        otherwise: Asked about all others.
        in_place: For instructions that run where they are.
    """
    vcpu, ctl, finish = steps.vcpu, steps.ctlblk, steps.finish
    words, memory, cpu = vcpu.words, steps.machine.memory, vcpu.cpu
    pc, flags = vcpu.engine.layout.pc, vcpu.engine.layout.flags
    mask, masked = cpu.step_flags(single_step=single_step)
    unmasked, saves_early = ~mask, steps.arch.saves_flags_at_hit
    trap_offset = steps.arch.isa.breakpoint_offset
    boosts_always = not steps.arch.boost_ends_at_post
    reenter, emulation_fault = steps.reenter, steps.emulation_fault
    references, unshared = sys.getrefcount, references_of_nobody(vcpu)
    listeners, tell, keep = steps.listeners, steps.tell, vcpu.engine.hooks.keep

    def hit(_uc: object = None, address: int = 0) -> bool:
        try:
            if in_place is None:
                address = words[pc] - trap_offset
                p = table.get(address)
                if p is None:
                    place = places.get(address)
                    return (place is not None and place()) or otherwise(address)
            else:
                p = ctl.current_kprobe
                if p is not None and ctl.kprobe_status & STEPPING and p.addr == address:
                    return False  # here again, now to be stepped
                if address == in_place.arrives_again:
                    in_place.arrives_again = None
                    return False
                p = table.get(address)
                if p is None:
                    return False  # a handler in the same block has taken it out
                words[pc] = address + trap_offset

            if ctl.current_kprobe is not None:
                if reenter(p):
                    return in_place is None or in_place.leave()
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
                        return in_place is None or in_place.leave()

            # Does it go on by itself, and nobody waits for the instruction's end?
            ainsn = p.ainsn
            if in_place is None:
                goes_on = p.detour
                if (
                    goes_on is None
                    and ainsn.boostable
                    and (boosts_always or p.post_handler is None)
                ):
                    goes_on = ainsn.insn
            else:
                words[pc] = goes_on = address
                if p.post_handler is not None or p.fault_handler is not None:
                    ainsn = in_place.refresh(p)
                    if ainsn is not None:
                        goes_on = None
            if goes_on is not None:
                if in_place is None:
                    words[pc] = goes_on
                    if listeners:
                        tell(HitKind.BOOST if p.detour is None else HitKind.DETOUR, p, 0)
                if ctl.kprobe_status != _REENTER:
                    ctl.current_kprobe = None
                else:
                    ctl.restore_previous_kprobe()
                if in_place is None:
                    return True
                return in_place.code_pages.written and in_place.start_anew(address)

            if ainsn.emulate is not None:
                if in_place is not None:
                    in_place.begin()
                try:
                    ainsn.emulate(vcpu.regs, memory)
                except GuestMemoryError as error:
                    emulation_fault(p, error)
                else:
                    if listeners:
                        tell(HitKind.EMULATE, p, ctl.kprobe_status)
                    finish(p)
                if in_place is None:
                    return True
                if words[pc] == address + ainsn.size:
                    in_place.end()
                return in_place.leave()

            # setup_singlestep(): mask interrupts, and let the CPU trap if no breakpoint will.
            old = words[flags]
            if ctl.kprobe_status != _REENTER:
                ctl.kprobe_status = _SS
            if not saves_early:
                ctl.kprobe_saved_flags = old & mask
            words[flags] = old & unmasked | masked
            words[pc] = ainsn.insn
            if in_place is not None:
                in_place.begin_step()
            if single_step:
                cpu.set_single_step(True)
            if listeners:
                tell(HitKind.STEP, p, ctl.kprobe_status)
            return in_place is None or in_place.leave()
        except BaseException as error:
            keep(error)
            return True

    return hit
