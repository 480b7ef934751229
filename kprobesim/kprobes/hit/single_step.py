"""The CPU's single step: the trap behind a copy without a breakpoint, or behind a hook.

post_kprobe_handler() and resume_execution() of kernels before 5.13 (x86) and 5.11 (ARM64). Where
probes are hooks the instruction itself is stepped in its place, in whatever kernel.
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.kprobes.arch_kprobes import ArchInsn
from kprobesim.kprobes.copies import OutOfLineCopies
from kprobesim.kprobes.hit.common import STEPPING, HitSteps
from kprobesim.kprobes.hit.hook import HookHits
from kprobesim.kprobes.kprobe import Kprobe
from kprobesim.machine.system import System

__all__ = ["make_step_trap"]


def make_step_trap(
    steps: HitSteps,
    hooks: HookHits,
    table: dict[int, Kprobe],
    copies: OutOfLineCopies,
    *,
    copied: bool,
) -> Callable[[], bool]:
    """The trap's handler for one CPU; it answers whether the step was a probe's.

    Args:
        steps: What hits have in common, on this CPU.
        hooks: How what is under hooks is done.
        table: The probe, or the head of several, by address.
        copies: Those that run by themselves.
        copied: Whether copies are stepped, and not just what is under hooks.
    """
    in_place, finish_in_place = hooks.in_place, hooks.in_place.finish
    machine, ctl, finish, arch = steps.machine, steps.ctlblk, steps.finish, steps.arch
    vcpu = steps.vcpu
    words, memory, cpu = vcpu.words, machine.memory, vcpu.cpu
    pc, flags, repeats = vcpu.engine.layout.pc, vcpu.engine.layout.flags, arch.repeats
    mask, masked = cpu.step_flags(single_step=True)

    def step() -> bool:
        p = ctl.current_kprobe
        if p is None or not ctl.kprobe_status & STEPPING or in_place.behind is not None:
            return False  # also of a guest that steps itself
        ainsn = p.ainsn
        is_copy = ainsn.insn != p.addr
        if is_copy and not copied:
            return False
        done = words[pc] - ainsn.insn
        if done == 0 and repeats:  # a REP instruction traps after each iteration
            if not is_copy:
                in_place.step_again()
            return True
        if done != ainsn.size:
            return False
        cpu.set_single_step(False)
        return finish(p, ainsn) if is_copy else finish_in_place(p, ainsn)

    def step_and_fix_up() -> bool:
        """The same where also branches were stepped: whoever else steps gets the trap, too."""
        p = ctl.current_kprobe
        if p is None or not ctl.kprobe_status & STEPPING or in_place.behind is not None:
            return False  # also of a guest that steps itself
        ainsn = p.ainsn
        ainsn.fix_up(vcpu.regs, memory, ctl.kprobe_saved_flags)
        if ainsn.insn == p.addr and words[pc] == ainsn.insn + ainsn.size:
            finish_in_place(p)
        else:
            if ainsn.insn != p.addr and ainsn.late_boost is not None:
                _boost_from_now_on(machine, table, copies, p, ainsn)
            finish(p)
        return not words[flags] & mask & masked

    return step_and_fix_up if arch.fixes_up else step


def _boost_from_now_on(
    machine: System, table: dict[int, Kprobe], copies: OutOfLineCopies, p: Kprobe, ainsn: ArchInsn
) -> None:
    """The first step has shown that the copy can run by itself."""
    slot, boosted, address = ainsn.insn, ainsn.boosted(), p.addr or 0
    assert slot is not None
    head = table.get(address)
    if head is None or head.ainsn is not ainsn:
        return  # a handler has taken the probe out, and the slot is free
    if ainsn.late_boost:
        machine.text.poke(slot, boosted.slot_bytes, "kprobe slot")
    copies.add(slot, address)
    head.share(boosted)
