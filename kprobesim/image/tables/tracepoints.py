"""The tracepoints of a kernel, and the events that tracefs shows of them, read from its image.

Each tracepoint has an iterator ``__traceiter_NAME`` (include/linux/tracepoint.h, since 5.10), which
is a function and so has a symbol in every kernel. ``_ftrace_events`` lists the events: pointers to
``struct trace_event_call`` (include/linux/trace_events.h), whose ``class`` names the system and
whose ``name`` is the event's, or the tracepoint's that it is made of.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kprobesim.image.tables import places
from kprobesim.image.tables.discover import find_address_runs

if TYPE_CHECKING:
    from kprobesim.image.kernel_image import KernelImage

__all__ = ["EVENTS", "raw_tracepoints", "trace_events"]

EVENTS = ("__start_ftrace_events", "__stop_ftrace_events", "_ftrace_events")

_ITERATOR, _DATA = b"__traceiter_", b"__tracepoint_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Offsets in ``struct trace_event_call`` since 4.x: a list head comes first.
_CLASS, _EVENT_NAME = 16, 24
_LONGEST_NAME = 128
_LEAST_EVENTS = 64
_SAMPLE = 16


def raw_tracepoints(names: Sequence[bytes]) -> frozenset[str]:
    """The tracepoints among the symbols ``names``."""
    found = set()
    for name in names:
        if name.startswith((_ITERATOR, _DATA)):
            found.add(name[len(_ITERATOR if name.startswith(_ITERATOR) else _DATA) :].decode())
    return frozenset(found)


def trace_events(image: KernelImage) -> frozenset[str]:
    """All events of ``image`` as ``"system:name"``; none when the table cannot be found."""
    table = image.table(*EVENTS)
    pointers = places.addresses(table[1]) if table else _by_shape(image)
    events = (_event(image, pointer) for pointer in pointers)
    return frozenset(event for event in events if event is not None)


def _by_shape(image: KernelImage) -> Sequence[int]:
    """The longest run of pointers that lead to events, for a kernel that names functions only."""
    low, high = image.segments[0].vaddr, image.segments[-1].end
    runs = find_address_runs(image.segments, low, high, _LEAST_EVENTS)
    best: Sequence[int] = array("Q")
    for _, words, _ in runs:
        for part in _events_in(image, words):
            if len(part) > len(best):
                best = part
    return best


def _events_in(image: KernelImage, words: Sequence[int]) -> Iterator[Sequence[int]]:
    """The parts of ``words`` that are pointers to events; most runs have none."""
    if not any(_event(image, words[at]) for at in range(0, len(words), _SAMPLE)):
        return
    start = 0
    for at in range(len(words) + 1):
        if at == len(words) or _event(image, words[at]) is None:
            if at - start >= _LEAST_EVENTS:
                yield words[start:at]
            start = at + 1


def _event(image: KernelImage, call: int) -> str | None:
    owner, name = _pointer(image, call + _CLASS), _pointer(image, call + _EVENT_NAME)
    system = _name(image, _pointer(image, owner)) if owner is not None else None
    if system is None or name is None:
        return None
    # An address is no text: its highest bytes are none.
    text = _name(image, name) or _name(image, _pointer(image, name))
    return None if text is None else f"{system}:{text}"


def _pointer(image: KernelImage, at: int) -> int | None:
    """The word at ``at``, if that is in the image and leads into it."""
    segment = image.segment_at(at)
    if segment is None or at - segment.vaddr + 8 > len(segment.data):
        return None
    offset = at - segment.vaddr
    value = int.from_bytes(segment.data[offset : offset + 8], "little")
    return value if image.segment_at(value) is not None else None


def _name(image: KernelImage, at: int | None) -> str | None:
    text = None if at is None else image.read_string(at, _LONGEST_NAME)
    return text if text is not None and _NAME.fullmatch(text) else None
