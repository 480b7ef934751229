"""``common_flags`` and ``common_preempt_count`` as the kernel's own handlers would find them.

The handlers of a kernel run in an exception, behind an ftrace site or in a detour, each of which
adds to what the probed code was in; and since 5.12 one is taken off again that only tracepoints
have added (``tracing_gen_ctx_dec()``), which borrows from the flags where there was none. Sources:
include/linux/preempt.h, kernel/trace/trace.c (``tracing_gen_ctx_irq_test()``), and what guests of
5.10 to 7.3 say of themselves (``scripts/compare_traces.py``).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from kprobesim.arch.architecture import halves
from kprobesim.inside.task_context import interrupt_bits
from kprobesim.programs.context import context_of
from kprobesim.trace.columns import TraceFlag

__all__ = ["ContextOf", "Way"]

_BH, _SOFTIRQ_MASK = 9, 0xFF00
_NOT_RESCHED = 1 << 31  # in x86-64's preempt_count, inverted
_DECREMENTS = 5, 12
_MIGRATION = 5, 18
_OF_TRIGGERS = 2
"""What the actions of a hist trigger find: its record, and the synthetic event's own."""
_PADS = 6, 12  # get_hist_pad() of trace_events_hist.c: one more
_LAZY = 6, 13


class Way(enum.Enum):
    """How a kernel comes to a probe's handler."""

    FTRACE = "ftrace"
    BREAKPOINT = "breakpoint"
    JUMP = "jump"
    RETURN = "return"
    CALL = "call"
    """No probe's: a tracer's, which has not come to what its own code adds."""


class _Adds(NamedTuple):
    """What a way adds.

    ``counted``: to the depth, where that is counted. ``irqs_off``: interrupts are masked.
    ``nmi``: it is an exception that counts as an NMI.
    """

    counted: int = 0
    irqs_off: bool = False
    nmi: bool = False


_X86 = {
    Way.FTRACE: _Adds(counted=1),
    Way.BREAKPOINT: _Adds(irqs_off=True, nmi=True),
    Way.JUMP: _Adds(counted=1),
    Way.RETURN: _Adds(counted=1),
    Way.CALL: _Adds(),
}
_ARM64 = {
    Way.BREAKPOINT: _Adds(counted=1, irqs_off=True),
    Way.RETURN: _Adds(),
    Way.CALL: _Adds(),
}
_WAYS = halves(x86_64=_X86, arm64=_ARM64)
_LOCKED_RETURN = _Adds(counted=1, irqs_off=True)  # kretprobe_hash_lock(), up to 5.10
_LOCKLESS = 5, 11
_BRK_RETURN = _Adds(counted=2, irqs_off=True)  # ARM64's trampoline is a BRK since 6.12
_BRK_RETURNS = halves(x86_64=(99,), arm64=(6, 12))

_RESCHED_BITS = halves(x86_64=(3, 4), arm64=(1, 2))
_INVERTED = halves(x86_64=True, arm64=False)
"""Whether the need to reschedule is a bit of preempt_count, clear if there is any."""
_GENERIC_BITS = 4, 5  # include/asm-generic/thread_info_tif.h
_GENERIC_SINCE = halves(x86_64=(6, 18), arm64=(99,))


class ContextOf:
    """What a kernel of some version and configuration says of a hit."""

    def __init__(self, arch: str, version: tuple[int, ...], *, preemptible: bool) -> None:
        """Set up.

        Args:
            arch: "x86_64" or "arm64".
            version: Of the kernel.
            preemptible: CONFIG_PREEMPTION, which counts how deep it is disabled.
        """
        self._ways = dict(_WAYS[arch])
        if version < _LOCKLESS:
            self._ways[Way.RETURN] = _LOCKED_RETURN
        if version >= _BRK_RETURNS[arch]:
            self._ways[Way.RETURN] = _BRK_RETURN
        self._bits = interrupt_bits(version)
        self._counts = preemptible
        self._in_actions = _OF_TRIGGERS + (version >= _PADS)
        self._decrements = preemptible and version >= _DECREMENTS
        self._has_migration = version >= _MIGRATION
        bits = _GENERIC_BITS if version >= _GENERIC_SINCE[arch] else _RESCHED_BITS[arch]
        self._need, self._lazy = (1 << bit for bit in bits)
        self._has_lazy = version >= _LAZY
        self._in_count = _INVERTED[arch]

    def at(self, word: int, way: Way, *, in_action: bool = False) -> tuple[int, int]:
        """``common_flags`` and ``common_preempt_count``.

        Args:
            word: The fact "context" of the hit.
            way: How the kernel would have come to its handler.
            in_action: It is an action of a hist trigger that records.
        """
        found, adds = context_of(word), self._ways[way]
        bits, count = self._bits, found.preempt_count & ~_NOT_RESCHED
        if self._counts:
            count += adds.counted + (self._in_actions if in_action else 0)
        if adds.nmi:
            count += bits.nmi + bits.hardirq
        flags = 0
        if found.irqs_off or adds.irqs_off:
            flags |= int(TraceFlag.IRQS_OFF)
        if count // bits.nmi & 15:
            flags |= int(TraceFlag.NMI)
        if count // bits.hardirq & 15:
            flags |= int(TraceFlag.HARDIRQ)
        if count & bits.softirq or found.softirqs & 1:
            flags |= int(TraceFlag.SOFTIRQ)
        disabled = (count & _SOFTIRQ_MASK) >> _BH or found.softirqs >> 1
        if self._has_migration and disabled:
            flags |= int(TraceFlag.BH_OFF)
        needs = found.thread_flags & self._need
        if needs:
            flags |= int(TraceFlag.NEED_RESCHED)
        if not found.preempt_count & _NOT_RESCHED if self._in_count else needs:
            flags |= int(TraceFlag.PREEMPT_RESCHED)
        if self._has_lazy and found.thread_flags & self._lazy:
            flags |= int(TraceFlag.NEED_RESCHED_LAZY)
        if not self._has_migration:
            both = flags << 16 | count & 0xFF
        else:
            both = flags << 16 | min(count & 0xFF, 15) | min(found.migration_disabled, 15) << 4
        if self._decrements and way is not Way.CALL:
            both -= 1
        return both >> 16 & 0xFF, both & 0xFF
