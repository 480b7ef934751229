"""``Field``: what a filter, a trigger or a histogram may name of an event.

kernel/trace/trace_events.c (``trace_find_event_field()``, ``trace_define_generic_fields()``) and
trace_events_filter.c (``filter_assign_type()``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from kprobesim.trace.filters.versions import SINCE_STACKTRACE

__all__ = ["COMMON_FIELDS", "Field", "FieldKind", "Fields", "generic_fields"]


class FieldKind(enum.Enum):
    """How filters look at a field (``FILTER_*`` in include/linux/trace_events.h)."""

    OTHER = enum.auto()
    STATIC_STRING = enum.auto()
    DYN_STRING = enum.auto()
    RDYN_STRING = enum.auto()
    PTR_STRING = enum.auto()
    CPUMASK = enum.auto()
    COMM = enum.auto()
    CPU = enum.auto()
    STACKTRACE = enum.auto()


_STRINGS = {
    FieldKind.STATIC_STRING,
    FieldKind.DYN_STRING,
    FieldKind.RDYN_STRING,
    FieldKind.PTR_STRING,
    FieldKind.COMM,
}


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: Its name.
        type: Its type, as the event's ``format`` has it.
        size: Bytes in the record; 0 for what is in no record.
        signed: Whether it is a signed number.
        generic: What every event has, and no record holds; ``None``: the type says what it is.
    """

    name: str
    type: str
    size: int
    signed: bool = False
    generic: FieldKind | None = None

    @property
    def kind(self) -> FieldKind:
        """How filters look at it."""
        return self.generic or _kind_of(self.type)

    @property
    def is_string(self) -> bool:
        """Whether it is compared with texts."""
        return self.kind in _STRINGS


def _kind_of(type_: str) -> FieldKind:
    """What a type's text says."""
    if "__data_loc" in type_:
        if "char" in type_:
            return FieldKind.DYN_STRING
        if "cpumask_t" in type_:
            return FieldKind.CPUMASK
    if "__rel_loc" in type_ and "char" in type_:
        return FieldKind.RDYN_STRING
    if "[" in type_ and "char" in type_:
        return FieldKind.STATIC_STRING
    if type_ in ("char *", "const char *"):
        return FieldKind.PTR_STRING
    return FieldKind.OTHER


COMMON_FIELDS = (
    Field("common_type", "unsigned short", 2),
    Field("common_flags", "unsigned char", 1),
    Field("common_preempt_count", "unsigned char", 1),
    Field("common_pid", "int", 4, signed=True),
)
"""What stands in front of every record (``struct trace_entry``)."""


def generic_fields(version: tuple[int, ...]) -> list[Field]:
    """What every event has beside its record, in a kernel of ``version``."""
    cpus = [Field(name, "int", 0, True, FieldKind.CPU) for name in ("CPU", "cpu", "common_cpu")]
    comms = [Field(name, "char *", 0, False, FieldKind.COMM) for name in ("COMM", "comm")]
    stacks = [
        Field(name, "char *", 0, False, FieldKind.STACKTRACE)
        for name in ("stacktrace", "STACKTRACE")
    ]
    return [*cpus, *comms, *(stacks if version >= SINCE_STACKTRACE else ())]


class Fields:
    """The fields of one event, by name: its own come first, then what every event has."""

    def __init__(self, own: Iterable[Field], version: tuple[int, ...]) -> None:
        """``own`` are those behind the common ones."""
        self.own = tuple(own)
        every = [*COMMON_FIELDS, *reversed(generic_fields(version)), *reversed(self.own)]
        self._by_name = {field.name: field for field in every}

    def find(self, name: str) -> Field | None:
        """The field of that name, if there is one."""
        return self._by_name.get(name)
