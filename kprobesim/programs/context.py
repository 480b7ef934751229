"""The facts "context" and "ids": in which context the CPU runs and whose it is, in a word each.

They are never faults: what is not known is 0. Who makes sense of them knows the kernel's version.
"""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.arch.architecture import halves

__all__ = ["IRQS_OFF", "Context", "Ids", "context_of", "ids_of"]

IRQS_OFF = halves(x86_64=(0x200, 0), arm64=(0x80, 0x80))
"""Interrupts are off if EFLAGS.IF is clear, or PSTATE.I set: the bit, and what it is then."""

_MIGRATION, _SOFTIRQS, _OFF = 48, 56, 63


class Context(NamedTuple):
    """What the word says.

    Attributes:
        preempt_count: The kernel's own, as it is in memory; of one with 64 bits the low 31, and
            the highest one above them.
        thread_flags: The low 16 bits of ``thread_info.flags``.
        migration_disabled: How often, modulo 256.
        softirqs: How often soft interrupts are disabled where a task counts that, in halves: the
            lowest bit says that one is being served.
        irqs_off: Whether interrupts are off.
    """

    preempt_count: int
    thread_flags: int
    migration_disabled: int
    softirqs: int
    irqs_off: bool


class Ids(NamedTuple):
    """The task's numbers."""

    pid: int
    tgid: int


def context_of(word: int) -> Context:
    """What "context" was at some hit."""
    return Context(
        word & 0xFFFF_FFFF,
        word >> 32 & 0xFFFF,
        word >> _MIGRATION & 0xFF,
        word >> _SOFTIRQS & 0x7F,
        bool(word >> _OFF),
    )


def ids_of(word: int) -> Ids:
    """What "ids" was."""
    return Ids(word & 0xFFFF_FFFF, word >> 32)
