"""What a program records of a hit, and the entry that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kprobesim.dynevent.definition import ProbeArgument, ProbeDefinition
from kprobesim.dynevent.fetch import Comm, ImmediateString
from kprobesim.programs.choices import or_else
from kprobesim.programs.fault import FAULT
from kprobesim.programs.leaves import Fact
from kprobesim.programs.types import Int
from kprobesim.programs.values import TextConst, Value
from kprobesim.sizes import MASK64
from kprobesim.trace.event_format import event_fields
from kprobesim.trace.showing import Naming

__all__ = ["NO_STACK", "RecordLayout"]

NO_STACK = MASK64
"""The number of a stack that could not be told."""


class RecordLayout:
    """The values that a definition's program records.

    Attributes:
        values: They, for :class:`~kprobesim.programs.appending.Append`.
        fixed: Bytes of a record in the kernel without what strings add.
        is_fixed: Whether there are no strings.
        stacks: Whether the last of them is the number of the stack of callers.
    """

    def __init__(
        self,
        definition: ProbeDefinition,
        arguments: Sequence[list[Value]],
        *,
        stacks: bool = False,
    ) -> None:
        """Lay out the values of a definition's ``arguments``, and of its callers."""
        self.stacks = stacks
        self.definition = definition
        self._start = int(definition.returns)
        recorded: list[Value] = [Fact("caller")] if definition.returns else []
        for values in arguments:
            recorded += [_known(value) for value in values if not isinstance(value, TextConst)]
        if stacks:
            at_entry = definition.returns or (definition.symbol and not definition.offset)
            recorded.append(or_else(Fact("stack_id" if at_entry else "unwound"), NO_STACK))
        self.values = tuple(recorded)
        fields = event_fields(definition)
        self.fixed = fields[-1].offset + fields[-1].size
        self.is_fixed = not any(argument.type.is_string for argument in definition.arguments)
        self._names: tuple[str, ...] | None = tuple(a.name for a in definition.arguments)
        if not self.is_fixed or any(a.type.count for a in definition.arguments):
            self._names = None

    def fields(self, found: Sequence[Any], name: Naming) -> dict[str, Any]:
        """The arguments by name.

        Args:
            found: What was recorded of all values.
            name: Names addresses.
        """
        if self._names is not None:
            return dict(zip(self._names, found[self._start :], strict=False))
        fields, at = dict[str, Any](), self._start
        for argument in self.definition.arguments:
            if isinstance(argument.fetch, ImmediateString):
                fields[argument.name] = argument.fetch.text
                continue
            if argument.type.count:
                values = found[at : at + argument.type.count]
                fields[argument.name] = tuple(_shown(v, argument, name) for v in values)
                at += argument.type.count
            else:
                fields[argument.name] = _shown(found[at], argument, name)
                at += 1
        return fields

    def size(self, fields: dict[str, Any]) -> int:
        """Bytes of the record in the kernel: a string takes its own, and a NUL."""
        size = self.fixed
        for argument in self.definition.arguments:
            if argument.type.is_string:
                value = fields[argument.name]
                texts = value if argument.type.count else (value,)
                size += sum(len(text.encode()) + 1 for text in texts if text is not FAULT)
        return size


def _known(value: Value) -> Value:
    """A number that cannot be read is 0."""
    return or_else(value, 0) if isinstance(value.type, Int) and value.fallible else value


def _shown(value: Any, argument: ProbeArgument, name: Naming) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if argument.type.name == "symstr" and not isinstance(argument.fetch, Comm):
        return name(value)
    return value
