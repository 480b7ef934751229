"""Filters of events and groups, applied as writing into their files ``filter`` does.

kernel/trace/trace_events.c (``event_filter_write()``), trace_events_filter.c
(``apply_event_filter()``).
"""

from __future__ import annotations

import errno
import os

from kprobesim.sizes import PAGE
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.filters.comparison import SPACE
from kprobesim.trace.filters.condition import condition
from kprobesim.trace.filters.error import FilterError
from kprobesim.trace.filters.facts import FilterFacts
from kprobesim.trace.filters.field import Field, Fields
from kprobesim.trace.filters.parse import parse_filter

__all__ = ["apply_filter", "fields_of"]

_NONE = "none"


def fields_of(event: TraceEvent, version: tuple[int, ...]) -> Fields:
    """What filters and triggers may name of ``event``, in a kernel of ``version``."""
    own = [Field(field.name, field.type, field.size, field.signed) for field in event.fields]
    return Fields(own, version)


def apply_filter(event: TraceEvent, written: str, facts: FilterFacts) -> None:
    """Let ``event`` record only what a filter is true of; ``0``: all.

    Args:
        event: The event.
        written: What is written to its file ``filter``.
        facts: The kernel.

    Raises:
        FilterError: The kernel refuses it: the event has no filter then, and its file says why.
        OSError: It is longer than a page.
    """
    text = _stripped(written)
    if text.lstrip(SPACE) == "0":
        event.restrict(None, _NONE)
        return
    try:
        node = parse_filter(text, fields_of(event, facts.version), facts)
    except FilterError as error:
        event.restrict(None, error.shown)
        raise
    event.restrict(lambda fields: condition(node, fields), text)


def _stripped(written: str) -> str:
    """What is read of a filter that is written."""
    if len(written.encode("utf-8", "surrogateescape")) >= PAGE:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return written.rstrip(SPACE)
