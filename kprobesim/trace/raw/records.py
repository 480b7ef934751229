"""``Records``: entries as the records that they are in the kernel's ring buffer."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.programs.fault import FAULT
from kprobesim.sizes import MASK64
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.event import TraceEvent
from kprobesim.trace.event_format import EventField
from kprobesim.trace.raw.ftrace_events import FtraceEvent
from kprobesim.trace.synthetic.event import SyntheticEvent

__all__ = ["Records"]

_COMMON = struct.Struct("<HBBi")  # struct trace_entry
_GROUP = "ftrace"


class Records:
    """Makes the records of one kernel's entries.

    Args:
        events: Its events that probes have, by ``GROUP/NAME``.
        own: Those of the group ``ftrace``, by name.
        marker: Where ``trace_marker`` is written from; 0: not known.
    """

    def __init__(
        self,
        events: Callable[[], Mapping[str, TraceEvent]],
        own: Mapping[str, FtraceEvent],
        marker: int,
    ) -> None:
        self._events = events
        self._own = own
        self._marker = marker

    def pack(self, entry: TraceEntry) -> bytes | None:
        """The record of an entry; ``None`` where its event is gone, and so what its fields are."""
        group, _, name = entry.event.partition("/")
        if group == _GROUP:
            own = self._own[name]
            return _common(entry, own.id) + self._body(entry, own)
        event = self._events().get(entry.event)
        if event is None:
            return None
        if isinstance(event, SyntheticEvent):
            head = _common(entry, event.id)
            return head + event.pack(entry.fields, len(head))
        places = (entry.ip,) if entry.func is None else (entry.func, entry.ip)
        head = _common(entry, event.id) + struct.pack(f"<{len(places)}Q", *places)
        return head + _arguments(event.definition.arguments, entry.fields, len(head))

    def _body(self, entry: TraceEntry, event: FtraceEvent) -> bytes:
        """What stands behind the common fields of an event of the kernel's own."""
        if event.name == "print":
            text = f"{entry.fields['buf']}\n".encode("utf-8", "surrogateescape")
            return struct.pack("<Q", self._marker) + text + b"\0"
        if event.name == "kernel_stack":
            stack = entry.stack or ()
            return struct.pack(f"<iI{len(stack)}Q", len(stack), 0, *stack)
        return _numbers(event.fields, entry.fields)


def _common(entry: TraceEntry, number: int) -> bytes:
    return _COMMON.pack(number, entry.flags, entry.preempt_count, entry.pid)


def _numbers(fields: Iterable[EventField], values: Mapping[str, Any]) -> bytes:
    """Numbers where their fields are, the first of which is behind the common ones."""
    record = bytearray()
    for field in fields:
        record += bytes(field.offset - _COMMON.size - len(record))
        if field.size:
            record += _number(values[field.name], field.size)
    return bytes(record)


def _arguments(arguments: Iterable[ProbeArgument], values: Mapping[str, Any], start: int) -> bytes:
    """What a probe has fetched, from ``start`` on in its record: strings are behind all else."""
    arguments = tuple(arguments)
    at = start + sum(argument.type.size for argument in arguments)
    fixed, texts = bytearray(), bytearray()
    for argument in arguments:
        value, kind = values[argument.name], argument.type
        for one in value if kind.count else (value,):
            if not kind.is_string:
                fixed += _number(one, kind.bits // 8)
                continue
            text = b"" if one is FAULT else one.encode("utf-8", "surrogateescape") + b"\0"
            fixed += struct.pack("<I", len(text) << 16 | at + len(texts))
            texts += text
    return bytes(fixed + texts)


def _number(value: Any, size: int) -> bytes:
    number: int = 0 if value is FAULT else value
    return (number & MASK64).to_bytes(8, "little")[:size]
