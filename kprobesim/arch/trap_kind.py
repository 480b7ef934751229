"""The kinds of exception that a kernel tells apart, the same words for both architectures."""

from __future__ import annotations

import enum

__all__ = ["TrapKind"]


class TrapKind(str, enum.Enum):
    """What an exception is about, whatever its number."""

    BREAKPOINT = "breakpoint"
    STEP = "single step"
    PAGE_FAULT = "page fault"
    PROTECTION = "general protection fault"
    UNDEFINED = "undefined instruction"
    DIVIDE = "divide error"
    ALIGNMENT = "alignment fault"
    SYSCALL = "system call"
    HALT = "halt"
    UNRECOVERABLE_KPROBE = "unrecoverable kprobe: a probe was hit two levels inside others"
    OTHER = "exception"
