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
_SYSCALLS, _ENTER, _EXIT, _NUMBER = "syscalls", "sys_enter_", "sys_exit_", "__syscall_nr"
_METADATA = "__syscall_meta__"
#: In ``struct syscall_metadata``: how many arguments there are, and the table of their names.
_COUNT, _NAMES = 12, 24
_MOST_ARGUMENTS, _LONGEST_NAME = 6, 64
_COMMON = ("common_type", "common_flags", "common_preempt_count", "common_pid")


class EventField(NamedTuple):
    """A field: its name, and the bytes of the record that it takes."""

    name: str
    start: int
    end: int


def event_fields(asked: KernelFacts, event: str) -> tuple[str, ...] | None:
    """The names of the fields of ``"sched:sched_switch"``; ``None`` if that is not told."""
    group, _, name = event.rpartition(":")
    if group == _SYSCALLS:
        called = _of_call(asked, name)
        return None if called is None else (*called, *_COMMON)
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
    if group == _SYSCALLS:  # made at boot from the prototypes of the calls
        return None
    return _struct(asked, name) or _struct(asked, _class_of(asked, name))


def _of_call(asked: KernelFacts, name: str) -> tuple[str, ...] | None:
    """Those of ``sys_enter_openat``, by ``struct syscall_metadata`` (include/trace/syscall.h)."""
    if name.startswith(_EXIT):
        return (_NUMBER, "ret")
    found = asked.known.symbols.candidates(_METADATA + name.removeprefix(_ENTER))
    image = asked.known.image
    if not found or not name.startswith(_ENTER):
        return None
    count = image.read(found[0].address + _COUNT, 1)[0] & 0x7F
    table = int.from_bytes(image.read(found[0].address + _NAMES, 8), "little")
    if count > _MOST_ARGUMENTS or (count and image.segment_at(table) is None):
        return None
    words = memoryview(image.read(table, 8 * count)).cast("Q") if count else ()
    texts = [image.read_string(word, _LONGEST_NAME) for word in words]
    if not all(text is not None and text.isidentifier() for text in texts):
        return None
    return (_NUMBER, *(text for text in texts if text is not None))


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
