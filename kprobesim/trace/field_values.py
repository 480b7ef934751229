"""``ProbeFields``: what the fields of an event are at a hit of one of its probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.errors import UsageError
from kprobesim.programs.by_python import ByPython
from kprobesim.programs.choices import or_else
from kprobesim.programs.fault import FAULT
from kprobesim.programs.leaves import Fact
from kprobesim.programs.matching import Length
from kprobesim.programs.types import SIZES, Str
from kprobesim.programs.values import Text, Value, as_value
from kprobesim.trace.event_format import event_fields
from kprobesim.trace.filters.field import Field
from kprobesim.trace.record import NO_STACK
from kprobesim.trace.showing import Naming

__all__ = ["ProbeFields"]

_NAMES = Str(4096)  # MAX_STRING_SIZE
_MOST_BYTES = 4088  # of a record (trace_event_buffer_lock_reserve(), 6.1)


class ProbeFields:
    """The fields of one definition, for filters, triggers and histograms.

    Args:
        definition: It.
        arguments: The values of each of its arguments, one for each element of an array.
        number: The event's id, which ``common_type`` is.
        name: Names addresses, for texts that are names of symbols.
        context: Tells ``common_flags`` and ``common_preempt_count`` by the fact "context".
    """

    def __init__(
        self,
        definition: ProbeDefinition,
        arguments: Sequence[Sequence[Value]],
        number: int,
        *,
        name: Naming,
        context: Callable[[int], tuple[int, int]],
    ) -> None:
        self._definition = definition
        self._name = name
        names = [argument.name for argument in definition.arguments]
        self._arguments = dict(zip(reversed(names), reversed(arguments), strict=True))
        self._types = {argument.name: argument.type for argument in definition.arguments}
        self._texts = [
            value
            for argument, values in zip(definition.arguments, arguments, strict=True)
            if argument.type.is_string
            for value in values
        ]
        here, byte = Fact("here"), SIZES["u8"]
        told = (Fact("context"),)
        self._facts: dict[str, Callable[[], Value]] = {
            "common_type": lambda: as_value(number),
            "common_flags": lambda: ByPython(told, lambda word: context(word)[0], byte),
            "common_preempt_count": lambda: ByPython(told, lambda word: context(word)[1], byte),
            "common_pid": lambda: Fact("ids").u32,
            "__probe_func": lambda: here,
            "__probe_ip": lambda: here,
            "__probe_ret_ip": lambda: or_else(Fact("caller"), 0),
        }

    def number(self, field: Field) -> Value:
        """The bytes of a number, or of an array, as an unsigned one of the field's size."""
        values = self._arguments.get(field.name)
        if values is None:
            return self._fact(field)
        bits = self._types[field.name].bits
        found = or_else(values[0], 0)
        if len(values) == 1:
            return found
        whole: Value = getattr(found, f"u{bits}")
        for place, value in enumerate(values[1:], 1):
            part: Value = getattr(or_else(value, 0), f"u{bits}")
            whole = whole | part << bits * place
        return whole

    def text(self, field: Field) -> Value:
        """A text; of an array the first one.

        The name of a symbol has no NUL in the record: it runs on in the text behind it.
        """
        first = self._arguments[field.name][0]
        if isinstance(first.type, Str):
            return first
        at = next(number for number, text in enumerate(self._texts) if text is first)
        return ByPython(tuple(self._texts[at:]), self._names, _NAMES)

    def _names(self, *parts: Any) -> bytes:
        """The text of a symbol's name and what it runs on in: up to the first that has a NUL."""
        text = b""
        for part in parts:
            if isinstance(part, bytes):
                return text + part
            if part is not FAULT:
                text += self._name(part).encode()
        return text

    @property
    def stack(self) -> Value:
        """The number of the stack of callers; ``NO_STACK`` where it is not known."""
        definition = self._definition
        at_entry = definition.returns or (definition.symbol and not definition.offset)
        return or_else(Fact("stack_id" if at_entry else "unwound"), NO_STACK)

    @property
    def fits(self) -> Value | None:
        """Whether the kernel has room for the record, without which triggers are not asked.

        ``None``: it always has.
        """
        last = event_fields(self._definition)[-1]
        texts = [value for values in self._arguments.values() for value in values]
        size: Value | None = None
        for text in texts:
            if isinstance(text, Text):
                size = Length(text) + 1 if size is None else size + Length(text) + 1
        return None if size is None else size <= _MOST_BYTES - last.offset - last.size

    def _fact(self, field: Field) -> Value:
        fact = self._facts.get(field.name)
        if fact is None:
            raise UsageError(f"{field.name} is not known at a hit")
        return fact()
