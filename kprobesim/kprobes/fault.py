"""A fault while a probe is being handled: whose it is, and which fault_handler hears of it.

kprobe_fault_handler() of arch/x86/kernel/kprobes/core.c and arch/arm64/kernel/probes/kprobes.c
(6.1; kernels before 5.14 asked the probe's fault_handler).
"""

from __future__ import annotations

from typing import Any

from kprobesim.kprobes.copies import OutOfLineCopies
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.events import HitKind
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.kprobe import Kprobe, is_true
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["FaultPath"]

_REENTER = int(KprobeStatus.KPROBE_REENTER)
_STEPPING = int(KprobeStatus.KPROBE_HIT_SS) | _REENTER


class FaultPath:
    """Puts faults of copied instructions down to their originals, on one CPU."""

    def __init__(
        self,
        hits: HitPath,
        table: dict[int, Kprobe],
        copies: OutOfLineCopies,
        counts_faults: bool = True,
        *,
        strict: bool = False,
    ) -> None:
        """Take the faults of the CPU.

        Args:
            hits: The CPU's path of a hit.
            table: The probe, or the head of several, by address.
            copies: Those that run by themselves.
            counts_faults: A fault in a handler counts as a miss, fault_handler or not.
            strict: Only such a fault is offered to the fault_handler, as in the kernel, and not
                that of the probed instruction.
        """
        steps = hits.steps
        self._vcpu = vcpu = steps.vcpu
        self._hits = hits
        self._table = table
        self._copies = copies
        self._ctlblk = steps.ctlblk
        self._counts_faults = counts_faults
        # A nested hit that faults gives back the flags that it has masked.
        self._nesting_saves_flags = steps.arch.nesting_saves_flags
        self._strict = strict
        self._words = vcpu.words
        self._pc = vcpu.engine.layout.pc
        self._flags = vcpu.engine.layout.flags
        self._mask = hits.steps.mask

    def fault(self, trap: Trap, regs: PtRegs) -> bool:
        """``kprobe_fault_handler()``: a fault of the guest while a probe is running.

        The kernel asks for page and protection faults only; here every exception of a stepped
        instruction is the probed address's, so that an oops names the real place.
        """
        if trap.kind in (TrapKind.BREAKPOINT, TrapKind.STEP):
            return False
        ctl = self._ctlblk
        p = ctl.current_kprobe
        if p is not None and ctl.kprobe_status & _STEPPING:
            return self._step_fault(p, trap, regs)
        original = None if self._strict else self._copies.original_of(regs.ip)
        if original is not None:
            regs.ip = original
            p = self._table.get(original)
            return p is not None and self._ask_fault_handler(p, trap, regs)
        return p is not None and self._handler_fault(p, trap, regs)

    def _step_fault(self, p: Kprobe, trap: Trap, regs: PtRegs) -> bool:
        ctl = self._ctlblk
        ainsn = p.ainsn
        if ainsn.emulate is None:
            # At the copy, or behind it if it waits for an interrupt (HLT).
            done = regs.ip - ainsn.insn
            if not 0 <= done <= ainsn.size:
                return False
            self._leave_slot(p, done)
        elif regs.ip != p.addr:
            return False
        if self._hits.steps.listeners:
            self._hits.steps.tell(HitKind.FAULT, p, ctl.kprobe_status)
        handled = not self._strict and self._ask_fault_handler(p, trap, regs)
        if ctl.kprobe_status == _REENTER:
            ctl.restore_previous_kprobe()
        else:
            ctl.current_kprobe = None
        return handled

    def _leave_slot(self, p: Kprobe, done: int) -> None:
        """Undo the start of a step: the fault belongs to the probed address."""
        by_cpu = self._hits.breakpoints.single_step
        if p.ainsn.insn == p.addr:
            by_cpu = self._hits.hooks.in_place.end_by_fault()
        if by_cpu:
            self._vcpu.cpu.set_single_step(False)
        words, flags = self._words, self._flags
        if self._nesting_saves_flags or self._ctlblk.kprobe_status != _REENTER:
            words[flags] = words[flags] & ~self._mask | self._ctlblk.kprobe_saved_flags
        words[self._pc] = (p.addr or 0) + done

    def _handler_fault(self, p: Kprobe, trap: Trap, regs: PtRegs) -> bool:
        """A fault in guest code that a handler called."""
        if self._counts_faults or p.fault_handler is not None:
            p.count_miss()
        return self._ask_fault_handler(p, trap, regs)

    def host_fault(self, trap: Trap) -> bool:
        """A handler's own access to guest memory failed: ask the probe's fault_handler."""
        p = self._ctlblk.current_kprobe
        if p is None:
            return False
        return self._handler_fault(p, trap, self._vcpu.regs)

    def _ask_fault_handler(self, p: Kprobe, trap: Trap, regs: PtRegs) -> bool:
        handler: Any = p.fault_handler
        if handler is None:
            return False
        vcpu = self._vcpu
        handling, vcpu.in_handler = vcpu.in_handler, True
        try:
            return is_true(handler(p, regs, trap.number), "fault_handler", p)
        finally:
            vcpu.in_handler = handling
