"""What a hit tells a histogram, and what is computed of it (``hist_field_*()``).

A hit records leaves, each once: numbers and texts of the event's fields, the time, the CPU, the
task's name. Keys and values are computed of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kprobesim.programs.choices import or_else
from kprobesim.programs.fault import FAULT
from kprobesim.programs.leaves import Fact
from kprobesim.programs.types import Int
from kprobesim.programs.values import TextConst, Value, as_value
from kprobesim.sizes import MASK64
from kprobesim.trace.field_values import ProbeFields
from kprobesim.trace.filters.field import Field
from kprobesim.trace.hist.expression import constant_of, divided
from kprobesim.trace.hist.hist_field import HistField, HistFlag

__all__ = ["Compute", "Leaves", "compute"]

Compute = Callable[[Sequence[Any]], Any]
"""A key or a value, of the leaves of a hit."""
_NANOSECONDS = 1000
_IDLE = "<idle>"


class Leaves:
    """What is recorded of each hit.

    Args:
        fields: What is computed of it.
        stacks: What the numbers of stacks stand for.
        depth: How many entries a stack trace has at most.
        references: How many variables stand behind what is recorded.
    """

    def __init__(
        self,
        fields: Iterable[HistField],
        stacks: Mapping[int, tuple[int, ...]],
        depth: int,
        references: int = 0,
    ) -> None:
        self.references = references
        self._stacks, self._depth = stacks, depth
        self._numbers: dict[Any, int] = {}
        self._texts: list[bytes] = []
        self._fields: list[Field | HistFlag] = []
        every = [each for field in fields for each in _walk(field)]
        for field in every:
            leaf = _leaf(field)
            if leaf is not None and leaf not in self._numbers:
                self._numbers[leaf] = len(self._fields)
                self._fields.append(leaf)
        self._has_comm = any(field.has(HistFlag.EXECNAME) for field in every)
        self._has_stack = any(field.has(HistFlag.STACKTRACE) for field in every)
        self._ids = len(self._fields)
        self._place = self._ids + 2 * self._has_comm

    def number(self, field: HistField) -> int:
        """The place of a field among what is recorded."""
        return self._numbers[_leaf(field)]

    def values(self, fields: ProbeFields) -> list[Value]:
        """What a program records, for one probe: of a text that is always the same a number."""
        values = [self._value(leaf, fields) for leaf in self._fields]
        if self._has_comm:
            values += [Fact("ids"), Fact("comm")]
        if self._has_stack:
            values += [Fact("here"), fields.stack]
        return values or [Fact("now")]

    def _value(self, leaf: Field | HistFlag, fields: ProbeFields) -> Value:
        value = _value(leaf, fields)
        if not isinstance(value, TextConst):
            return value
        if value.data not in self._texts:
            self._texts.append(value.data)
        return as_value(self._texts.index(value.data))

    def text(self, found: Any) -> bytes:
        """The text that was recorded, itself or as a number; of a fault an empty one."""
        if found is FAULT:
            return b""
        text: bytes = self._texts[found] if isinstance(found, int) else found
        return text

    def comm(self, leaves: Sequence[Any]) -> str:
        """The name of a hit's task."""
        if not self._has_comm:
            return ""
        pid, comm = leaves[self._ids] & 0xFFFF_FFFF, leaves[self._ids + 1]
        if not pid or comm is FAULT:
            return _IDLE
        return str(comm.decode("utf-8", "backslashreplace"))

    def stack(self, leaves: Sequence[Any]) -> tuple[int, ...]:
        """The stack trace of a hit: the probe's own place, and the callers."""
        here, number = leaves[self._place : self._place + 2]
        return (here, *self._stacks.get(number, ()))[: self._depth]


def _walk(field: HistField) -> Iterable[HistField]:
    yield field
    for operand in field.operands:
        yield from _walk(operand)


def _leaf(field: HistField) -> Field | HistFlag | None:
    """What of a hit a field is; ``None``: nothing, or what is computed."""
    if field.has(HistFlag.STACKTRACE | HistFlag.VAR_REF):
        return None
    for flag in (HistFlag.TIMESTAMP, HistFlag.CPU, HistFlag.COMM):
        if field.has(flag) and not field.operands:
            return flag
    return field.field


def _value(leaf: Field | HistFlag, fields: ProbeFields) -> Value:
    if isinstance(leaf, HistFlag):
        facts = {HistFlag.TIMESTAMP: "now", HistFlag.CPU: "cpu", HistFlag.COMM: "comm"}
        return Fact(facts[leaf])
    if leaf.is_string:
        return fields.text(leaf)
    kind = Int(8 * leaf.size, leaf.signed)
    number: Value = getattr(or_else(fields.number(leaf), 0), str(kind))
    return number


def compute(field: HistField, leaves: Leaves) -> Compute:
    """The function that computes ``field``: a number of 64 bits, or a text as bytes."""
    plain = _plain(field, leaves)
    if field.has(HistFlag.LOG2):
        return lambda found: _log2(plain(found))
    if field.has(HistFlag.BUCKET):
        width = field.buckets
        return lambda found: plain(found) // width * width
    return plain


def _plain(field: HistField, leaves: Leaves) -> Compute:
    if field.has(HistFlag.HITCOUNT):
        return lambda found: 1
    if field.has(HistFlag.CONST):
        return lambda found: field.number
    if field.operator:
        return _computed(field, leaves)
    if field.has(HistFlag.VAR_REF):
        behind = field.reference - leaves.references
        return lambda found: found[behind]
    if field.has(HistFlag.STACKTRACE):
        return leaves.stack
    at = leaves.number(field)
    if field.has(HistFlag.STRING):
        most = field.size - 1
        return lambda found: leaves.text(found[at])[:most]
    if field.has(HistFlag.TIMESTAMP_USECS) and field.has(HistFlag.TIMESTAMP):
        return lambda found: found[at] // _NANOSECONDS
    return lambda found: found[at] & MASK64


def _computed(field: HistField, leaves: Leaves) -> Compute:
    operands = [compute(operand, leaves) for operand in field.operands]
    if field.operator == "neg":
        (of,) = operands
        return lambda found: -of(found) & MASK64
    left, right = operands
    constant = field.operands[1].has(HistFlag.CONST)
    if field.operator != "/":
        operator = field.operator
        return lambda found: constant_of(operator, left(found), right(found))
    if constant:
        return lambda found: divided(left(found), right(found))
    return lambda found: left(found) // right(found) if right(found) else MASK64


def _log2(number: int) -> int:
    """Of the next power of two."""
    return max(number - 1, 0).bit_length()
