"""The life of a hit: from the breakpoint trap to the instruction after the probe.

The states and their order are those of kprobe_handler(), setup_singlestep() and
resume_singlestep() (arch/x86/kernel/kprobes/core.c, arch/arm64/kernel/probes/kprobes.c, 6.1). This
is the hot path: one dict look-up, registers as words, nothing allocated. See
docs/life-of-a-hit.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from kprobesim.errors import GuestMemoryError
from kprobesim.kprobes.archs import ArchKprobes
from kprobesim.kprobes.ctlblk import KprobeCtlblk, KprobeStatus
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.machine.machine import Machine
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.trap import Trap, TrapKind

__all__ = ["HandlerAbandoned", "HitPath", "Observer"]

Observer = Callable[[str, Kprobe, int], None]
"""``observer(event, probe, status)``: hears of every change of state, for demonstrations."""

_ACTIVE = int(KprobeStatus.KPROBE_HIT_ACTIVE)
_SS = int(KprobeStatus.KPROBE_HIT_SS)
_REENTER = int(KprobeStatus.KPROBE_REENTER)
_SSDONE = int(KprobeStatus.KPROBE_HIT_SSDONE)
_STEPPING = _SS | _REENTER


class HandlerAbandoned(BaseException):
    """A handler's memory access faulted and its fault_handler said that this was handled."""


class HitPath:
    """Handles breakpoint, step and fault traps for the armed probes in ``table``."""

    def __init__(
        self,
        machine: Machine,
        arch: ArchKprobes,
        table: dict[int, Kprobe],
        boosted: dict[int, Kprobe],
        ctlblk: KprobeCtlblk,
        *,
        single_step: bool,
    ) -> None:
        self._machine = machine
        self._arch = arch
        self._table = table
        self._boosted = boosted
        self._ctlblk = ctlblk
        self._single_step = single_step
        self._words = machine.words
        self._pc = machine.engine.layout.pc
        self._flags = machine.engine.layout.flags
        self._mask, self._set = machine.cpu.step_flags(single_step=single_step)
        self._back = arch.breakpoint_trap_offset
        self._unshared = self._count_references()
        self.observer: Observer | None = None

    def _count_references(self) -> int:
        """References to a ``PtRegs`` that nobody kept, counted as :meth:`_handle` counts."""
        regs = self._machine.regs
        return sys.getrefcount(regs)

    # -- the breakpoint trap ---------------------------------------------------------------------

    def breakpoint(self) -> bool:
        """Handle a breakpoint trap; false if the breakpoint is none of ours."""
        words, ctl = self._words, self._ctlblk
        address = words[self._pc] - self._back
        p = self._table.get(address)
        if p is None:
            return self._step_end()
        if ctl.running is not None:
            return self._reenter(p)
        ctl.running = p
        ctl.kprobe_status = _ACTIVE
        if self.observer is not None:
            self.observer("hit", p, _ACTIVE)
        pre_handler = p.pre_handler
        if pre_handler is not None and self._handle(pre_handler, p):
            ctl.running = None
            if self.observer is not None:
                self.observer("moved", p, 0)
            return True
        ainsn = p.ainsn
        if ainsn.boostable:
            words[self._pc] = ainsn.insn
            ctl.running = None
            if self.observer is not None:
                self.observer("boost", p, 0)
        elif ainsn.emulate is not None:
            self._emulate(p)
        else:
            self._start_step(p, _SS)
        return True

    def _handle(self, handler: Callable[..., Any], p: Kprobe, *more: int) -> Any:
        """Run a handler; registers that it kept are frozen as it left them."""
        machine = self._machine
        regs = machine.regs
        machine.in_handler = True
        try:
            result = handler(p, regs, *more)
        except HandlerAbandoned:
            result = None
        machine.in_handler = False
        if sys.getrefcount(regs) > self._unshared:
            machine.replace_regs(regs)
        return result

    def _reenter(self, p: Kprobe) -> bool:
        """A probe was hit while another one is handled: count it and just run the instruction."""
        ctl = self._ctlblk
        if ctl.kprobe_status == _REENTER:
            # BUG() in the kernel: only one outer probe can be remembered.
            self._words[self._pc] = p.addr or 0
            regs = self._machine.regs.copy()
            self._machine.fault(Trap(TrapKind.UNRECOVERABLE_KPROBE, self._arch.trap_number), regs)
        p.nmissed += 1
        ctl.save_previous_kprobe()
        ctl.running = p
        ctl.kprobe_status = _REENTER
        if self.observer is not None:
            self.observer("reenter", p, _REENTER)
        if p.ainsn.boostable:
            self._words[self._pc] = p.ainsn.insn
            ctl.restore_previous_kprobe()
        elif p.ainsn.emulate is not None:
            self._emulate(p)
        else:
            self._start_step(p, _REENTER)
        return True

    def _emulate(self, p: Kprobe) -> None:
        """Do in Python what the instruction does, as the kernel does it in C."""
        try:
            p.ainsn.emulate(self._machine.regs, self._machine.memory)
        except GuestMemoryError as error:
            self._words[self._pc] = p.addr or 0
            self._ctlblk.kprobe_status = _SS
            self._machine.dispatch(self._arch.memory_trap(error))
            return
        if self.observer is not None:
            self.observer("emulate", p, self._ctlblk.kprobe_status)
        self._post(p)

    # -- stepping --------------------------------------------------------------------------------

    def _start_step(self, p: Kprobe, status: int) -> None:
        """Send the CPU into the slot with interrupts masked."""
        words, ctl, flags = self._words, self._ctlblk, self._flags
        old = words[flags]
        ctl.kprobe_status = status
        ctl.kprobe_saved_flags = old & self._mask
        words[flags] = old & ~self._mask | self._set
        words[self._pc] = p.ainsn.insn
        if self._single_step:
            self._machine.cpu.set_single_step(True)
        if self.observer is not None:
            self.observer("step", p, status)

    def _step_end(self) -> bool:
        """The trap behind the copy in the slot, if that is where the CPU is."""
        ctl, words = self._ctlblk, self._words
        p = ctl.running
        if p is None or not ctl.kprobe_status & _STEPPING:
            return False
        ainsn = p.ainsn
        if words[self._pc] - ainsn.insn != self._arch.step_end(ainsn):
            return False
        self._resume(p)
        return True

    def step(self) -> bool:
        """The CPU's single-step trap; false if no probe is being stepped."""
        ctl, words = self._ctlblk, self._words
        p = ctl.running
        if p is None or not ctl.kprobe_status & _STEPPING or not self._single_step:
            return False
        done = words[self._pc] - p.ainsn.insn
        if done == 0 and self._arch.repeats:
            return True  # a REP instruction traps after each iteration and has more to do
        if done != p.ainsn.size:
            return False
        self._machine.cpu.set_single_step(False)
        self._resume(p)
        return True

    def _resume(self, p: Kprobe) -> None:
        words, flags = self._words, self._flags
        words[flags] = words[flags] & ~self._mask | self._ctlblk.kprobe_saved_flags
        words[self._pc] = (p.addr or 0) + p.ainsn.size
        self._post(p)

    def _post(self, p: Kprobe) -> None:
        """The instruction is done: tell the post_handler and forget the probe."""
        ctl = self._ctlblk
        if ctl.kprobe_status == _REENTER:
            ctl.restore_previous_kprobe()
            if self.observer is not None:
                self.observer("reenter done", p, ctl.kprobe_status)
            return
        # Before the handler runs: a probe that it hits is missed then, and not an error.
        ctl.kprobe_status = _SSDONE
        if self.observer is not None:
            self.observer("done", p, _SSDONE)
        if p.post_handler is not None:
            self._handle(p.post_handler, p, 0)
        ctl.running = None

    # -- faults ----------------------------------------------------------------------------------

    def fault(self, trap: Trap, regs: PtRegs) -> bool:
        """``kprobe_fault_handler()``: a fault of the guest while a probe is running.

        The kernel asks for page and protection faults only; here every exception of a stepped
        instruction is the probed address's, so that an oops names the real place.
        """
        if trap.kind in (TrapKind.BREAKPOINT, TrapKind.STEP):
            return False
        ctl = self._ctlblk
        p = ctl.running
        if p is not None and ctl.kprobe_status & _STEPPING:
            return self._step_fault(p, trap, regs)
        boosted = self._boosted.get(regs.ip)
        if boosted is not None:
            regs.ip = boosted.addr or 0
            return self._ask_fault_handler(boosted, trap, regs)
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
        if self.observer is not None:
            self.observer("fault", p, ctl.kprobe_status)
        handled = self._ask_fault_handler(p, trap, regs)
        if ctl.kprobe_status == _REENTER:
            ctl.restore_previous_kprobe()
        else:
            ctl.running = None
        return handled

    def _leave_slot(self, p: Kprobe, done: int) -> None:
        """Undo the start of a step: the fault belongs to the probed address."""
        if self._single_step:
            self._machine.cpu.set_single_step(False)
        words, flags = self._words, self._flags
        words[flags] = words[flags] & ~self._mask | self._ctlblk.kprobe_saved_flags
        words[self._pc] = (p.addr or 0) + done

    def _handler_fault(self, p: Kprobe, trap: Trap, regs: PtRegs) -> bool:
        """A fault in guest code that a handler called."""
        p.nmissed += 1
        return self._ask_fault_handler(p, trap, regs)

    def host_fault(self, trap: Trap) -> bool:
        """A handler's own access to guest memory failed: ask the probe's fault_handler."""
        p = self._ctlblk.running
        if p is None:
            return False
        return self._handler_fault(p, trap, self._machine.regs)

    def _ask_fault_handler(self, p: Kprobe, trap: Trap, regs: PtRegs) -> bool:
        if p.fault_handler is None:
            return False
        machine = self._machine
        handling, machine.in_handler = machine.in_handler, True
        try:
            return bool(p.fault_handler(p, regs, trap.number))
        finally:
            machine.in_handler = handling
