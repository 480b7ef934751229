"""The fields of an event, and the text of its ``format`` file (kernel/trace/trace_events.c)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kprobesim.dynevent.definition import ProbeArgument, ProbeDefinition
from kprobesim.trace.showing import PRINT_FORMATS

__all__ = ["COMMON_FIELDS", "EventField", "event_fields", "format_text"]


@dataclass(frozen=True)
class EventField:
    """One field of an event's record, as ``format`` tells it.

    Attributes:
        name: Its name.
        type: Its type in C, with the length of an array.
        offset: Where it begins in the record.
        size: How many bytes it has.
        signed: Whether it is a signed number.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool = False

    def __str__(self) -> str:
        base, bracket, rest = self.type.partition("[")
        if self.type.startswith("__data_loc"):
            base, bracket, rest = self.type, "", ""
        numbers = f"offset:{self.offset};\tsize:{self.size};\tsigned:{self.signed:d};"
        return f"\tfield:{base} {self.name}{bracket}{rest};\t{numbers}"


COMMON_FIELDS = (
    EventField("common_type", "unsigned short", 0, 2),
    EventField("common_flags", "unsigned char", 2, 1),
    EventField("common_preempt_count", "unsigned char", 3, 1),
    EventField("common_pid", "int", 4, 4, signed=True),
)
"""Those of ``struct trace_entry``."""
_ENTRY = ("__probe_ip",)
_RETURN = ("__probe_func", "__probe_ret_ip")
_COMMON_BYTES = 8


def event_fields(definition: ProbeDefinition, *, lengths: bool = True) -> list[EventField]:
    """The fields behind :data:`COMMON_FIELDS`: the probe's place, then its arguments.

    Args:
        definition: The event's.
        lengths: Whether the lengths of arrays are told.
    """
    fields, at = [], _COMMON_BYTES
    for name in _RETURN if definition.returns else _ENTRY:
        fields.append(EventField(name, "unsigned long", at, 8))
        at += 8
    for argument in definition.arguments:
        kind = argument.type
        known = lengths or kind.is_string
        text = f"{kind.format}[{kind.count if known else ''}]" if kind.count else kind.format
        fields.append(EventField(argument.name, text, at, kind.size, kind.signed))
        at += kind.size
    return fields


def format_text(name: str, number: int, definition: ProbeDefinition, *, lengths: bool) -> str:
    """The text of the file.

    Args:
        name: The event's name, without its group.
        number: Its id.
        definition: Its first definition.
        lengths: Whether the lengths of arrays are told, as before 6.1.15, whose
            ``struct ftrace_event_field`` has a member for them that kprobe events leave at 0.
    """
    lines = [f"name: {name}", f"ID: {number}", "format:"]
    lines += map(str, COMMON_FIELDS)
    lines += ["", *map(str, event_fields(definition, lengths=lengths)), ""]
    return "\n".join([*lines, f"print fmt: {_print_format(definition)}", ""])


def _print_format(definition: ProbeDefinition) -> str:
    places = "REC->__probe_ip"
    text = "(%lx)"
    if definition.returns:
        places, text = "REC->__probe_func, REC->__probe_ret_ip", "(%lx <- %lx)"
    for argument in definition.arguments:
        one = PRINT_FORMATS[argument.type.name]
        many = ",".join([one] * (argument.type.count or 1))
        text += f" {argument.name}={f'{{{many}}}' if argument.type.count else many}"
    references = [ref for argument in definition.arguments for ref in _references(argument)]
    return ", ".join([f'"{text}"', places, *references])


def _references(argument: ProbeArgument) -> Sequence[str]:
    pattern = "__get_str({})" if argument.type.is_string else "REC->{}"
    count = argument.type.count
    names = [f"{argument.name}[{n}]" for n in range(count)] if count else [argument.name]
    return [pattern.format(name) for name in names]
