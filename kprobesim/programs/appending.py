"""``Append``: entries of variable length, in one stream with those of other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kprobesim.errors import UsageError
from kprobesim.programs.actions import Action
from kprobesim.programs.stores.stream import Outlet
from kprobesim.programs.values import TextConst, Value, as_value

__all__ = ["Append", "NotedOutlets", "Outlets"]

_FIELDS = 4096


class Outlets(Protocol):
    """Where entries go: a stream, or what leads to one."""

    @property
    def address(self) -> int:
        """Where compiled code finds the stream's head."""

    @property
    def stamped(self) -> bool:
        """See :class:`~kprobesim.programs.stores.stream.Stream`."""

    def outlet(self, values: Sequence[Value]) -> Outlet:
        """See :meth:`Stream.outlet <kprobesim.programs.stores.stream.Stream.outlet>`."""


class NotedOutlets(Outlets):
    """Ways into a stream of somebody who takes note of each.

    Args:
        stream: Where the entries go.
        note: Hears of each new way.
    """

    def __init__(self, stream: Outlets, note: Callable[[Outlet], object]) -> None:
        self._stream, self._note = stream, note

    @property
    def address(self) -> int:
        """Where compiled code finds the stream's head."""
        return self._stream.address

    @property
    def stamped(self) -> bool:
        """Whether entries have stamps."""
        return self._stream.stamped

    def outlet(self, values: Sequence[Value]) -> Outlet:
        """See :meth:`Stream.outlet <kprobesim.programs.stores.stream.Stream.outlet>`."""
        outlet = self._stream.outlet(values)
        self._note(outlet)
        return outlet


@dataclass(frozen=True, eq=False)
class Append(Action):
    """Append an entry to a stream.

    Attributes:
        fields: The values of an entry.
        stream: Where it goes.
        when: A condition; where it is not met, or cannot be computed, nothing is appended, but the
            hit is counted. ``None``: always.
        after_others: Append only if the same CPU has appended others since it appended such a one:
            of a stream for which :meth:`.Programs.per_cpu` was called.
    """

    fields: Any
    stream: Outlets = field(metadata={"shape": False})
    when: Any = field(default=None, kw_only=True)
    after_others: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        values = tuple(as_value(value, "a field") for value in self.fields)
        if len(values) > _FIELDS or not (values or self.stream.stamped):
            raise UsageError(f"an entry of {len(values)} fields: give 1 to {_FIELDS} values")
        for value in values:
            if isinstance(value, TextConst):
                raise UsageError(f"a field is always {value}: leave it out")
        object.__setattr__(self, "fields", values)
        if self.when is not None:
            object.__setattr__(self, "when", as_value(self.when, "a condition"))

    @property
    def values(self) -> Iterator[Value]:
        """Those of an entry, and its condition."""
        yield from self.fields
        if self.when is not None:
            yield self.when

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal where the same code does it."""
        when = None if self.when is None else self.when.shape
        fields = tuple((str(value.type), value.shape) for value in self.fields)
        return type(self).__name__, self.stream.address, fields, when, self.after_others
