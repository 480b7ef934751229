"""The fields of an event, by the struct in which its ring buffer keeps them.

include/trace/stages/stage1_struct_define.h: ``struct trace_event_raw_CLASS``. Events of one class
share it; which class an event is of is told by its ``struct trace_event_call``.
"""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.compat.kernel_facts import KernelFacts
from kprobesim.types.model import Composite

__all__ = ["EventField", "event_fields", "event_layout"]

_STRUCT, _CLASS, _CALL = "trace_event_raw_", "event_class_", "event_"
_CLASS_OF_CALL = 16  # behind a list head
_HEADER, _ALLOCATED, _DATA = "ent", "__data_loc_", "__data"
_COMMON = ("common_type", "common_flags", "common_preempt_count", "common_pid")


class EventField(NamedTuple):
    """A field: its name, and the bytes of the record that it takes."""

    name: str
    start: int
    end: int


def event_fields(asked: KernelFacts, event: str) -> tuple[str, ...] | None:
    """The names of the fields of ``"sched:sched_switch"``; ``None`` if that is not told."""
    found = _record(asked, event)
    if found is None:
        return None
    return (*(field.name for field in _layout(found)), *_COMMON)


def event_layout(asked: KernelFacts, event: str) -> tuple[EventField, ...]:
    """Where the event's own fields are; none if that is not told."""
    found = _record(asked, event)
    return () if found is None else _layout(found)


def _record(asked: KernelFacts, event: str) -> Composite | None:
    group, _, name = event.rpartition(":")
    if group == "syscalls":  # made at boot from the prototypes of the calls
        return None
    return _struct(asked, name) or _struct(asked, _class_of(asked, name))


def _layout(record: Composite) -> tuple[EventField, ...]:
    return tuple(
        EventField(
            member.name.removeprefix(_ALLOCATED),
            member.offset,
            member.offset + (member.type.stripped.size or 0),
        )
        for member in record.flat()
        if member.name not in (_HEADER, _DATA)
    )


def _struct(asked: KernelFacts, name: str | None) -> Composite | None:
    return next(iter(asked.composites(_STRUCT + name)), None) if name else None


def _class_of(asked: KernelFacts, name: str) -> str | None:
    """The class of the event, in kernels that name their data."""
    symbols, image = asked.known.symbols, asked.known.image
    for call in symbols.candidates(_CALL + name):
        pointer = int.from_bytes(image.read(call.address + _CLASS_OF_CALL, 8), "little")
        found = symbols.at(pointer)
        if found is not None and found.offset == 0 and found.symbol.name.startswith(_CLASS):
            return found.symbol.name.removeprefix(_CLASS)
    return None
