"""Before and after the copied instruction runs in its slot (setup_singlestep, resume_singlestep).

With a breakpoint behind the copy (Linux 5.13 on) only the interrupt flag is touched, with the trap
flag (before) both are. arch/x86/kernel/kprobes/core.c.
"""

from __future__ import annotations

from kprobesim.arch.x86_64.constants import IF, INT3_SIZE, MASK64, TF
from kprobesim.arch.x86_64.prepare import ArchInsn, Stepping

__all__ = ["flags_after_step", "flags_for_step", "is_step_end", "resume_ip"]


def flags_for_step(flags: int, stepping: Stepping) -> tuple[int, int]:
    """The flags to run the slot with, and those to keep for :func:`flags_after_step`."""
    if stepping == "breakpoint":
        return flags & ~IF, flags & IF
    return (flags | TF) & ~IF, flags & (TF | IF)


def flags_after_step(flags: int, kept: int, stepping: Stepping) -> int:
    """The flags as if the original instruction had run; also right after a fault in the slot."""
    if stepping == "trap":
        flags &= ~TF
    return flags | kept


def is_step_end(ainsn: ArchInsn, ip: int) -> bool:
    """Whether a breakpoint reported at ``ip`` is the one behind the copy of ``ainsn``."""
    slot = ainsn.insn
    return slot is not None and slot < ip < slot + ainsn.slot_size


def resume_ip(ainsn: ArchInsn, address: int, ip: int) -> int | None:
    """Where to go on in the original, from ``ip`` as the trap that ended the step reports it.

    None: the instruction has not finished, go on stepping. (The trap flag also traps between the
    iterations of a repeated string instruction, with ``ip`` still at the slot.) An ``ip`` outside
    the slot is absolute, and kept.
    """
    slot = ainsn.insn
    if slot is None:
        return ip
    if ainsn.stepping == "breakpoint":
        return (ip - slot + address - INT3_SIZE) & MASK64
    offset = ip - slot
    if offset == 0:
        return None
    return (address + offset) & MASK64 if 0 < offset <= ainsn.slot_size else ip
