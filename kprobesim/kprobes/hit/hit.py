"""The life of a hit: from the breakpoint trap to the instruction after the probe.

The states and their order are those of kprobe_handler(), setup_singlestep() and
resume_singlestep() (arch/x86/kernel/kprobes/core.c, arch/arm64/kernel/probes/kprobes.c, 6.1). This
is the hot path: one dict look-up, registers as words, nothing allocated. See
docs/life-of-a-hit.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from kprobesim.errors import GuestMemoryError
from kprobesim.kprobes.arch_kprobes import ArchInsn, ArchKprobes
from kprobesim.kprobes.ctlblk import KprobeCtlblk, KprobeStatus
from kprobesim.kprobes.kprobe import HandlerAbandoned, Kprobe
from kprobesim.machine.faults import GuestBug
from kprobesim.machine.guest import Guest
from kprobesim.machine.trap import Trap, TrapKind, page_fault_of

__all__ = ["HitPath", "Observer", "references_of_nobody"]

Observer = Callable[[str, Kprobe, int], None]
"""``observer(event, probe, status)``: hears of every change of state, for demonstrations."""

_ACTIVE = int(KprobeStatus.KPROBE_HIT_ACTIVE)
_SS = int(KprobeStatus.KPROBE_HIT_SS)
_REENTER = int(KprobeStatus.KPROBE_REENTER)
_SSDONE = int(KprobeStatus.KPROBE_HIT_SSDONE)
_STEPPING = _SS | _REENTER


def references_of_nobody(machine: Guest) -> int:
    """The reference count of a ``PtRegs`` that no handler kept, counted as the hit path does."""
    regs = machine.regs
    return sys.getrefcount(regs)


class HitPath:
    """Handles breakpoint and step traps for the armed probes in ``table``.

    ``breakpoint()`` and ``step()`` answer whether the trap was a probe's. ``strict``: a breakpoint
    that older kernels would hit again and again is hit again and again.
    """

    def __init__(
        self,
        machine: Guest,
        arch: ArchKprobes,
        table: dict[int, Kprobe],
        copies: dict[int, int],
        ctlblk: KprobeCtlblk,
        *,
        single_step: bool,
        strict: bool = False,
    ) -> None:
        self._machine = machine
        self._arch = arch
        self._strict = strict
        self._table = table
        self._copies = copies
        self._ctlblk = ctlblk
        self._single_step = single_step
        self._words = machine.words
        self._pc = machine.engine.layout.pc
        self._flags = machine.engine.layout.flags
        self._mask, self._set = machine.cpu.step_flags(single_step=single_step)
        self.observer: Observer | None = None
        self.unclaimed: Callable[[int], bool] = lambda address: False
        """Asked whether it knows the breakpoint at an address where no probe is."""
        self.refresh: Callable[[Kprobe], ArchInsn | None] = lambda p: p.ainsn
        self.breakpoint, self.step, self.hook = self._traps()

    def _traps(
        self,
    ) -> tuple[Callable[[], bool], Callable[[], bool], Callable[[int, int], bool]]:
        """The handlers of traps and hooks, as closures: looking a name up once saves a fifth."""
        machine, words, ctl, table = self._machine, self._words, self._ctlblk, self._table
        pc, flags, mask, unmasked, masked = (
            *(self._pc, self._flags),
            *(self._mask, ~self._mask, self._set),
        )
        trap_offset, repeats = self._arch.breakpoint_trap_offset, self._arch.repeats
        engine, memory, single_step = machine.engine, machine.memory, self._single_step
        saves_early = self._arch.saves_flags_at_hit
        boosts_always = not self._arch.boost_ends_at_post
        # What the engine counts must not show that a block was left and entered again at a hook.
        counter, counted = engine.counter_words, 0
        references = sys.getrefcount
        unshared = references_of_nobody(machine)

        def breakpoint() -> bool:
            address = words[pc] - trap_offset
            p = table.get(address)
            if p is None:
                # No probe's: the one behind the copy in the slot?
                p = ctl.running
                if p is None or not ctl.kprobe_status & _STEPPING:
                    return self.unclaimed(address) or self._vanished(address)
                ainsn = p.ainsn
                if ainsn.insn is None or address != ainsn.insn + ainsn.size:
                    return self.unclaimed(address) or self._vanished(address)
                return resume(p, ainsn)
            if enter(p):
                return True
            detour = p.detour
            if detour is not None:
                words[pc] = detour
                if self.observer is not None:
                    self.observer("detour", p, 0)
                return leave()
            ainsn = p.ainsn
            if ainsn.boostable and (boosts_always or p.post_handler is None):
                words[pc] = ainsn.insn
                if self.observer is not None:
                    self.observer("boost", p, 0)
                return leave()
            if ainsn.emulate is not None:
                try:
                    ainsn.emulate(machine.regs, memory)
                except GuestMemoryError as error:
                    self._emulation_fault(p, error)
                    return True
                if self.observer is not None:
                    self.observer("emulate", p, ctl.kprobe_status)
                return finish(p)
            start_step(p)
            words[pc] = ainsn.insn
            return True

        def hook(address: int, _size: int) -> bool:
            """Before the instruction at ``address``, which is as it always was and will run.

            True if it will not: the CPU goes elsewhere, or comes here again to be stepped.
            """
            nonlocal counted
            p = ctl.running
            if p is not None and ctl.kprobe_status & _STEPPING and p.addr == address:
                return False  # here again, now to be stepped
            p = table.get(address)
            if p is None:
                return False  # a handler in the same block has taken it out
            words[pc] = address + trap_offset
            if enter(p):
                engine.write_pc(words[pc])
                return True
            words[pc] = address
            if p.post_handler is None and p.fault_handler is None:
                leave()
                return False
            ainsn = self.refresh(p)
            if ainsn is None:
                leave()
                return False
            counted = counter[0]
            if ainsn.emulate is not None:
                try:
                    ainsn.emulate(machine.regs, memory)
                except GuestMemoryError as error:
                    self._emulation_fault(p, error)
                else:
                    finish(p)
                if words[pc] == address + ainsn.size:
                    counter[0] = counted - engine.counts_blocks
                engine.write_pc(words[pc])
            else:
                start_step(p)
                engine.write_pc(address)  # a new block, which traps
            return True

        def enter(p: Kprobe) -> bool:
            """The pre_handler's turn; true if it has set where to go on."""
            if ctl.running is not None:
                return self._enter_again(p)
            ctl.running = p
            ctl.kprobe_status = _ACTIVE
            if saves_early:
                ctl.kprobe_saved_flags = words[flags] & mask
            if self.observer is not None:
                self.observer("hit", p, _ACTIVE)
            if p.pre_handler is not None:
                regs = machine.regs
                machine.in_handler = True
                try:
                    moved = p.pre_handler(p, regs)
                except HandlerAbandoned:
                    moved = None
                machine.in_handler = False
                if references(regs) > unshared:
                    machine.replace_regs(regs)
                if moved:
                    ctl.running = None
                    if self.observer is not None:
                        self.observer("moved", p, 0)
                    return True
            return False

        def start_step(p: Kprobe) -> None:
            """Mask interrupts, and let the CPU trap if no breakpoint will."""
            old = words[flags]
            if ctl.kprobe_status != _REENTER:
                ctl.kprobe_status = _SS
            if not saves_early:
                ctl.kprobe_saved_flags = old & mask
            words[flags] = old & unmasked | masked
            if single_step:
                machine.cpu.set_single_step(True)
            if self.observer is not None:
                self.observer("step", p, ctl.kprobe_status)

        def step() -> bool:
            p = ctl.running
            if p is None or not ctl.kprobe_status & _STEPPING or not single_step:
                return False
            ainsn = p.ainsn
            done = words[pc] - ainsn.insn
            if done == 0 and repeats:
                return True  # a REP instruction traps after each iteration and has more to do
            if done != ainsn.size:
                return False
            machine.cpu.set_single_step(False)
            return resume(p, ainsn)

        def step_and_fix_up() -> bool:
            """The same where also branches were stepped: whoever else steps gets the trap, too."""
            p = ctl.running
            if p is None or not ctl.kprobe_status & _STEPPING:
                return False
            ainsn = p.ainsn
            ainsn.fix_up(machine.regs, memory, ctl.kprobe_saved_flags)
            if ainsn.insn == p.addr and words[pc] == ainsn.insn + ainsn.size:
                finish_in_place(p)
            else:
                if ainsn.insn != p.addr and ainsn.late_boost is not None:
                    self._boost_from_now_on(p, ainsn)
                finish(p)
            return not words[flags] & mask & masked

        def resume(p: Kprobe, ainsn: ArchInsn) -> bool:
            """Out of the slot, or behind the instruction that a hook had stepped in place."""
            words[flags] = words[flags] & unmasked | ctl.kprobe_saved_flags
            words[pc] = (p.addr or 0) + ainsn.size
            return finish_in_place(p) if ainsn.insn == p.addr else finish(p)

        def finish_in_place(p: Kprobe) -> bool:
            """The same where a hook had it stepped: its block will be entered, and counted, again.

            For the post_handler the time is what it was before the instruction, and not less.
            """
            counter[0] = counted
            done = finish(p)
            counter[0] = counted - engine.counts_blocks
            return done

        def finish(p: Kprobe) -> bool:
            """The instruction is done: tell the post_handler."""
            if ctl.kprobe_status == _REENTER:
                if self.observer is not None:
                    self.observer("reenter done", p, _REENTER)
                return leave()
            # Before the handler runs: a probe that it hits is missed then, and not an error.
            ctl.kprobe_status = _SSDONE
            if self.observer is not None:
                self.observer("done", p, _SSDONE)
            if p.post_handler is not None:
                regs = machine.regs
                machine.in_handler = True
                try:  # noqa: SIM105 (a context manager costs as much as a register or two)
                    p.post_handler(p, regs, 0)
                except HandlerAbandoned:
                    pass
                machine.in_handler = False
                if references(regs) > unshared:
                    machine.replace_regs(regs)
            ctl.running = None
            return True

        def leave() -> bool:
            """Forget the probe, or go on with the hit around it."""
            if ctl.kprobe_status == _REENTER:
                ctl.restore_previous_kprobe()
            else:
                ctl.running = None
            return True

        return breakpoint, step_and_fix_up if self._arch.fixes_up else step, hook

    def _vanished(self, address: int) -> bool:
        """A breakpoint, and no probe: was it one that has been taken out since?

        Current kernels leave it to others. Older ones try the instruction again if the breakpoint
        has gone (x86), or in any case (ARM64, which can last for ever: only ``strict`` does that).
        """
        arch, machine = self._arch, self._machine
        if arch.vanished == "report" or not address >> 63:
            return False
        found = machine.memory.read(address, len(arch.breakpoint))
        again = self._strict and arch.vanished == "retry" and found == arch.breakpoint
        if not again and arch.is_breakpoint(found):
            return False
        self._words[self._pc] = address
        return True

    def _boost_from_now_on(self, p: Kprobe, ainsn: ArchInsn) -> None:
        """The first step has shown that the copy can run by itself."""
        slot, boosted = ainsn.insn, ainsn.boosted()
        assert slot is not None
        head = self._table.get(p.addr or 0)
        if head is None or head.ainsn is not ainsn:
            return  # a handler has taken the probe out, and the slot is free
        if ainsn.late_boost:
            self._machine.text.poke(slot, boosted.slot_bytes, "kprobe slot")
        self._copies[slot] = p.addr or 0
        head.share(boosted)

    def _enter_again(self, p: Kprobe) -> bool:
        """A probe was hit while another one is handled: it is counted, and just executed.

        True if it has been, which for ftrace's NOP means going on behind it.
        """
        ctl = self._ctlblk
        if ctl.kprobe_status & self._arch.fatal:
            if p.ainsn.emulate_kind == "ftrace":  # is never stepped, so there is nothing to forget
                p.count_miss()
                self._words[self._pc] = (p.addr or 0) + p.ainsn.size
                return True
            # BUG() in the kernel: only one outer probe can be remembered.
            self._words[self._pc] = p.addr or 0
            machine = self._machine
            regs = machine.regs.copy()
            raise GuestBug(
                Trap(TrapKind.UNRECOVERABLE_KPROBE, self._arch.trap_number),
                regs,
                machine.symbolize(regs.ip),
                machine.unwind(regs),
                self._arch.bug_file,
                0,
            )
        p.count_miss()
        ctl.save_previous_kprobe()
        ctl.running = p
        ctl.kprobe_status = _REENTER
        if self._arch.saves_flags_at_hit:
            ctl.kprobe_saved_flags = self._words[self._flags] & self._mask
        if self.observer is not None:
            self.observer("reenter", p, _REENTER)
        return False

    def _emulation_fault(self, p: Kprobe, error: GuestMemoryError) -> None:
        """The operand of an emulated instruction cannot be reached: the fault is the address's."""
        self._words[self._pc] = p.addr or 0
        if self._ctlblk.kprobe_status != _REENTER:
            self._ctlblk.kprobe_status = _SS
        self._machine.dispatch(page_fault_of(error, self._machine.arch))
