"""Into the slot and out of it: PSTATE while a copy is stepped, and where to go on.

Facts: arch/arm64/kernel/probes/kprobes.c, 5.10 (software step) and 6.1 to 6.17 (breakpoint).
"""

from __future__ import annotations

from kprobesim.arch.arm64.constants import INSN_SIZE, PSR_D, PSR_DAIF, PSR_I, PSR_SS
from kprobesim.arch.arm64.options import Stepping
from kprobesim.arch.arm64.prepare import ArchInsn

__all__ = ["faulted_in_slot", "finish_step", "resume_pc", "start_step", "step_end"]


def start_step(pstate: int, stepping: Stepping = "breakpoint") -> tuple[int, int]:
    """PSTATE for running the slot, and the interrupt flags to give back to ``finish_step``.

    A breakpoint needs no exception but itself, so everything is masked. A software step is a debug
    exception: only interrupts are masked, debug exceptions let in, and ``PSTATE.SS`` armed.
    """
    saved = pstate & PSR_DAIF
    if stepping == "breakpoint":
        return pstate | PSR_DAIF, saved
    return (pstate | PSR_I | PSR_SS) & ~PSR_D, saved


def finish_step(pstate: int, saved: int) -> int:
    """PSTATE after the step: what the instruction left, with the saved interrupt flags."""
    return pstate & ~(PSR_DAIF | PSR_SS) | saved


def step_end(ainsn: ArchInsn) -> int | None:
    """The pc at which a step ends, in both ways of stepping; ``None`` for a simulated one."""
    return None if ainsn.insn is None else ainsn.insn + INSN_SIZE


def resume_pc(ainsn: ArchInsn, address: int, pc: int) -> int:
    """Where execution goes on after the instruction of the probe at ``address`` is done.

    After a step that is the next instruction (nothing that branches runs from a slot), after a
    simulation the ``pc`` that it has set.
    """
    return ainsn.restore or pc


def faulted_in_slot(ainsn: ArchInsn, pc: int) -> bool:
    """Whether a fault at ``pc`` is the copied instruction's, to be shown at the probed address."""
    return ainsn.insn is not None and pc == ainsn.insn
