"""What every kind of hit has in common on one CPU: calling handlers, finishing, nesting.

The states and their order are those of kprobe_handler(), setup_singlestep() and
resume_singlestep() (arch/x86/kernel/kprobes/core.c, arch/arm64/kernel/probes/kprobes.c, 6.1). The
ways to a probe are in :mod:`~kprobesim.kprobes.hit.breakpoint`, :mod:`~kprobesim.kprobes.hit.hook`
and :mod:`~kprobesim.kprobes.hit.jump`; they are the hot paths: closures over one CPU's words,
registers as words, nothing allocated. See docs/life-of-a-hit.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from kprobesim.errors import GuestMemoryError
from kprobesim.kprobes.arch_kprobes import ArchKprobes
from kprobesim.kprobes.ctlblk import KprobeCtlblk, KprobeStatus
from kprobesim.kprobes.events import HitKind, HitListeners
from kprobesim.kprobes.kprobe import HandlerAbandoned, Kprobe, is_true
from kprobesim.machine.faults import GuestBug
from kprobesim.machine.trap import Trap, TrapKind, page_fault_of
from kprobesim.machine.vcpu import Vcpu

__all__ = [
    "STEPPING",
    "CallHandler",
    "Finish",
    "HitSteps",
    "goes_elsewhere",
    "make_call_handler",
    "references_of_nobody",
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
        layout, words, ctl = self.vcpu.engine.layout, self.vcpu.engine.window, self.ctlblk
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
