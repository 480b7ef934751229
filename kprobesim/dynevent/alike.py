"""Which probes may share an event: append_trace_kprobe() of kernel/trace/trace_kprobe.c."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.fetch_type import FetchType
from kprobesim.dynevent.grammar.command import Command

__all__ = ["check_alike"]

_UNKNOWN = "unknown"  # what the kernel compares where a place has no symbol


def check_alike(
    definition: ProbeDefinition, others: Sequence[ProbeDefinition], command: Command
) -> None:
    """Whether a probe may join an event.

    Args:
        definition: The probe.
        others: Those that are the event, at least one.
        command: What was written for it.

    Raises:
        ProbeEventError: It is of another kind, has other arguments by name or type, or is there
            already.
    """
    first = others[0]
    if (first.kind, first.at_exit) != (definition.kind, definition.at_exit):
        raise command.refusal("DIFF_PROBE_TYPE", 0, number=errno.EEXIST)
    ours, theirs = definition.arguments, first.arguments
    different = None
    if len(ours) != len(theirs):
        different = min(len(ours), len(theirs))
    else:
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if _kind(one.type) != _kind(other.type) or one.name != other.name:
                different = index
                break
    if different is not None:
        raise command.refusal("DIFF_ARG_TYPE", different + 2, number=errno.EEXIST)
    if any(_same(other, definition) for other in others):
        raise command.refusal("SAME_PROBE", 0, number=errno.EEXIST)


def _kind(type: FetchType) -> FetchType:
    """What of a type the kernel compares: the same type, and as many elements."""
    return replace(type, bitfield=None)


def _same(one: ProbeDefinition, other: ProbeDefinition) -> bool:
    """trace_kprobe_has_same_kprobe(): all places without a symbol count as one."""
    places = [
        (each.qualified or _UNKNOWN, each.offset if each.symbol else 0) for each in (one, other)
    ]
    bodies = [[argument.body for argument in each.arguments] for each in (one, other)]
    return places[0] == places[1] and bodies[0] == bodies[1]
