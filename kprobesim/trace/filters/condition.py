"""A filter as a condition of a program: what is compiled, or interpreted, at each hit.

kernel/trace/trace_events_filter.c, ``filter_pred_*()``. A field that could not be fetched is 0, and
a text an empty one, as in the kernel's record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kprobesim.programs.choices import or_else
from kprobesim.programs.leaves import Fact
from kprobesim.programs.matching import matches
from kprobesim.programs.types import SIZES, Int
from kprobesim.programs.values import Value, operation
from kprobesim.trace.filters.field import Field, FieldKind
from kprobesim.trace.filters.nodes import (
    And,
    CpuNumber,
    CpuSet,
    InFunction,
    Like,
    Never,
    Node,
    Not,
    Number,
    Or,
)

__all__ = ["FieldValues", "condition"]


class FieldValues(Protocol):
    """What fields are at a hit."""

    def number(self, field: Field) -> Value:
        """The bytes of a number, or of an array, as an unsigned one of the field's size."""

    def text(self, field: Field) -> Value:
        """A text."""


def condition(node: Node, values: FieldValues) -> Value:
    """The condition that a filter is.

    Args:
        node: The filter.
        values: The event's fields.

    Returns:
        A truth, which is never a fault.
    """
    return _Conditions(values).make(node)


def _always(truth: bool) -> Value:
    return operation("==", int(truth), 1)


class _Conditions:
    def __init__(self, values: FieldValues) -> None:
        self._values = values
        self._make: dict[type[Any], Callable[[Any], Value]] = {
            And: lambda node: operation("&", self.make(node.left), self.make(node.right)),
            CpuNumber: self._cpu,
            CpuSet: self._cpus,
            InFunction: self._in_function,
            Like: self._like,
            Never: lambda node: _always(False),
            Not: lambda node: operation("==", self.make(node.of), 0),
            Number: self._number,
            Or: lambda node: operation("|", self.make(node.left), self.make(node.right)),
        }

    def make(self, node: Node) -> Value:
        """The condition of ``node``."""
        return self._make[type(node)](node)

    def _number(self, node: Number) -> Value:
        kind = Int(8 * node.field.size, node.signed)
        value = _cast(or_else(self._values.number(node.field), 0), kind)
        number = kind.narrow(node.value)
        if node.operator == "&":
            return operation("!=", operation("&", value, number), 0)
        return operation(node.operator, value, number)

    def _cpu(self, node: CpuNumber) -> Value:
        if node.operator == "&":
            return _always(False)
        cpu = _cast(Fact("cpu"), SIZES["s32"])
        return operation(node.operator, cpu, SIZES["s32"].narrow(node.value))

    def _cpus(self, node: CpuSet) -> Value:
        if node.operator != "&":
            return _always(node.operator == "!=")
        number = Fact("cpu") if node.field is None else or_else(self._values.number(node.field), 0)
        cpu = _cast(number, SIZES["u32"])
        found = _always(False)
        for one in sorted(node.cpus):
            found = operation("|", found, operation("==", cpu, one))
        return found

    def _in_function(self, node: InFunction) -> Value:
        address = self._values.number(node.field)
        starts = operation(">=", address, node.start)
        return operation("&", starts, operation("<", address, node.end))

    def _like(self, node: Like) -> Value:
        of_task = node.field.kind is FieldKind.COMM
        return matches(Fact("comm") if of_task else self._values.text(node.field), node.pattern)


def _cast(value: Value, kind: Int) -> Value:
    found: Value = getattr(value, str(kind))
    return found
