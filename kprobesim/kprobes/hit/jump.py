"""Hits of jumps: the detour of an optimised probe calls, and what it calls traps (x86-64).

optimized_callback() of arch/x86/kernel/kprobes/opt.c (6.1).
"""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.arch.x86_64.constants import INT3_SIZE, RSP
from kprobesim.arch.x86_64.detour import FRAME_SIZE
from kprobesim.kprobes.aggregate import AggrKprobe
from kprobesim.kprobes.ctlblk import KprobeStatus
from kprobesim.kprobes.events import HitKind
from kprobesim.kprobes.hit.common import HitSteps
from kprobesim.kprobes.kprobe import Kprobe

__all__ = ["make_jump_trap"]

_ACTIVE = int(KprobeStatus.KPROBE_HIT_ACTIVE)


def make_jump_trap(
    steps: HitSteps, table: dict[int, Kprobe], probed: int, goes_on: int
) -> Callable[[], bool]:
    """``optimized_callback()`` for one probe and one CPU: the trap in what its detour calls.

    Args:
        steps: What hits have in common, on this CPU.
        table: The probe, or the head of several, by address.
        probed: The probe's address.
        goes_on: Where a hit goes on: at the first copy in the detour.
    """
    machine, ctl = steps.machine, steps.ctlblk
    words, pc, ip = machine.words, machine.engine.layout.pc, probed + INT3_SIZE
    call_handler, listeners, tell = steps.call_handler, steps.listeners, steps.tell
    off_stack = 8 + FRAME_SIZE  # the detour's return address, and its struct pt_regs

    def trap() -> bool:
        sp = words[RSP] + off_stack
        words[RSP] = sp
        head = table.get(probed)
        if isinstance(head, AggrKprobe):
            if ctl.current_kprobe is not None:
                head.count_miss()
                if listeners:
                    tell(HitKind.MISS, head, ctl.kprobe_status)
            else:
                ctl.current_kprobe, ctl.kprobe_status = head, _ACTIVE
                words[pc] = ip
                if listeners:
                    tell(HitKind.JUMP, head, _ACTIVE)
                call_handler(head.opt_pre_handler, head)
                ctl.current_kprobe = None
                words[RSP] = sp
        words[pc] = goes_on
        return True

    return trap
