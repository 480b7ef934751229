"""``ProbeFields``: what the fields of an event are at a hit of one of its probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.errors import UsageError
from kprobesim.programs.choices import or_else
from kprobesim.programs.leaves import Fact
from kprobesim.programs.matching import Length
from kprobesim.programs.values import Text, Value, as_value
from kprobesim.trace.event_format import event_fields
from kprobesim.trace.filters.field import Field
from kprobesim.trace.record import NO_STACK

__all__ = ["ProbeFields"]

_MOST_BYTES = 4088  # of a record (trace_event_buffer_lock_reserve(), 6.1)


class ProbeFields:
    """The fields of one definition, for filters, triggers and histograms.

    Args:
        definition: It.
        arguments: The values of each of its arguments, one for each element of an array.
        number: The event's id, which ``common_type`` is.
    """

    def __init__(
        self, definition: ProbeDefinition, arguments: Sequence[Sequence[Value]], number: int
    ) -> None:
        self._definition = definition
        names = [argument.name for argument in definition.arguments]
        self._arguments = dict(zip(reversed(names), reversed(arguments), strict=True))
        self._types = {argument.name: argument.type for argument in definition.arguments}
        here = Fact("here")
        self._facts: dict[str, Callable[[], Value]] = {
            "common_type": lambda: as_value(number),
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

        Raises:
            UsageError: It is made of a symbol's name when the record is read.
        """
        if self._types[field.name].name == "symstr":
            raise UsageError(
                f"{field.name} is the name of a symbol, which no program has at a hit: "
                f"filter by its address, as u64"
            )
        return self._arguments[field.name][0]

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
