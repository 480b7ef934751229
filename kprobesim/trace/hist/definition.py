"""``HistDefinition``: a hist trigger that was understood (``struct hist_trigger_data``).

kernel/trace/trace_events_hist.c: ``create_hist_data()`` and what it calls.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from kprobesim.trace.filters.field import Fields
from kprobesim.trace.hist.actions import HistAction
from kprobesim.trace.hist.attributes import Attributes
from kprobesim.trace.hist.bound_actions import ActionBinder, BoundAction
from kprobesim.trace.hist.error import HistError, LogEntry
from kprobesim.trace.hist.expression import STRING_BYTES, Expressions, stack_depth
from kprobesim.trace.hist.hist_field import HistField, HistFlag
from kprobesim.trace.hist.reference import FindVariable, Reference, Variable
from kprobesim.trace.hist.versions import (
    SINCE_NOHITCOUNT,
    SINCE_VALUE_CHECKS,
    shares_of_values,
)
from kprobesim.trace.synthetic.event import SyntheticEvent

__all__ = ["HistDefinition", "SortKey", "define_hist"]

_MOST_VALUES = _MOST_KEYS = 3  # TRACING_MAP_VALS_MAX, the hits among them; TRACING_MAP_KEYS_MAX
_MOST_SORTS = 2
_SCALED = HistFlag.BUCKET | HistFlag.LOG2
_SHARES = HistFlag.GRAPH | HistFlag.PERCENT
_SHOWN = HistFlag.SYM | HistFlag.SYM_OFFSET | HistFlag.SYSCALL | HistFlag.STACKTRACE


@dataclass(frozen=True)
class SortKey:
    """What a histogram is sorted by: 0 for the hits, then values, then keys."""

    index: int = 0
    descending: bool = False


@dataclass(frozen=True)
class HistDefinition:
    """What a histogram counts.

    Attributes:
        attributes: What was written.
        values: What is added up beside the hits.
        variables: What is only remembered.
        keys: What tells entries apart.
        sorts: The sort keys, the first one first.
        uses_time: Whether one of the fields is the time.
        version: The kernel's.
        references: The variables that it names.
        wanted: Fields that its actions want as variables.
        actions: What it does beside counting.
        logged: What the kernel complains of, though it takes it.
    """

    attributes: Attributes
    values: tuple[HistField, ...]
    variables: tuple[HistField, ...]
    keys: tuple[HistField, ...]
    sorts: tuple[SortKey, ...]
    uses_time: bool
    version: tuple[int, ...]
    references: tuple[Reference, ...] = ()
    wanted: tuple[HistField, ...] = ()
    actions: tuple[BoundAction, ...] = ()
    logged: tuple[LogEntry, ...] = ()

    def matches(self, other: HistDefinition) -> bool:
        """Whether the kernel takes them for one (``hist_trigger_match()``, without filters)."""
        return (
            [_compared(field) for field in self.fields] == [_compared(f) for f in other.fields]
            and len(self.values) == len(other.values)
            and len(self.variables) == len(other.variables)
            and self.sorts == other.sorts
            and [bound.action for bound in self.actions]
            == [bound.action for bound in other.actions]
        )

    @property
    def fields(self) -> tuple[HistField, ...]:
        """All fields behind the hits."""
        return self.values + self.variables + self.keys


def _compared(field: HistField) -> tuple[object, ...]:
    """What of a field must be equal: not how wide its buckets are, nor what it computes."""
    return field.flags, field.field, field.size, field.signed, field.variable


def _finds_nothing(group: str | None, event: str | None, name: str) -> None:
    return None


def define_hist(
    attributes: Attributes,
    fields: Fields,
    version: tuple[int, ...],
    taken: Collection[str] = (),
    *,
    event: tuple[str, str] = ("", ""),
    find: FindVariable = _finds_nothing,
    actions: Sequence[HistAction] = (),
    synthetic: Callable[[str], SyntheticEvent | None] = lambda name: None,
    others_field: Callable[[str, str, str, Sequence[HistField]], Variable] | None = None,
    binds: bool = True,
) -> HistDefinition:
    """What the attributes of a hist trigger say.

    Args:
        attributes: They.
        fields: The event's fields.
        version: The kernel's.
        taken: Variables that the event's histograms define already.
        event: The event's group and name.
        find: Finds the variables of other triggers.
        actions: What it does beside counting.
        synthetic: Finds a synthetic event by its name.
        others_field: Makes a variable of a field of the event of that group and name, for a
            trigger with such keys.
        binds: Whether what the actions name must be there: not to remove the trigger.

    Raises:
        HistError: The kernel refuses it.
    """
    names = _variables(attributes, taken)
    expressions = Expressions(fields, version, names, find)
    values = _values(attributes, expressions, version)
    variables = tuple(
        _checked(expressions.read(text, HistFlag.VAR, name), text, version)
        for name, text in names.items()
    )
    keys = _keys(attributes, expressions, version)
    sorts = _sorts(attributes, [*values, *keys])

    def variable(group: str, event: str, name: str) -> Variable:
        if others_field is None:
            raise HistError(errno.EINVAL)
        return others_field(group, event, name, keys)

    binder = ActionBinder(expressions, event, variables, synthetic, variable)
    bound = tuple(map(binder.bind if binds else BoundAction, actions))
    return HistDefinition(
        attributes,
        values,
        variables,
        keys,
        sorts,
        expressions.uses_time,
        version,
        tuple(expressions.references),
        tuple(binder.fields),
        bound,
        tuple(expressions.logged),
    )


def _variables(attributes: Attributes, taken: Collection[str]) -> dict[str, str]:
    """The variables that are defined, and their texts."""
    found: dict[str, str] = {}
    for assignment in attributes.assignments:
        for part in assignment.split(","):
            name, equals, text = part.partition("=")
            if not equals:
                raise HistError(errno.EINVAL, LogEntry("MALFORMED_ASSIGNMENT", name))
            if name in found or name in taken:
                raise HistError(errno.EINVAL, LogEntry("DUPLICATE_VAR", name))
            found[name] = text
    return found


def _values(
    attributes: Attributes, expressions: Expressions, version: tuple[int, ...]
) -> tuple[HistField, ...]:
    values: list[HistField] = []
    parts = [] if attributes.values is None else attributes.values.split(",")
    hits = steps = 0
    while parts and steps < _MOST_VALUES and len(values) + 1 < _MOST_VALUES:
        part = parts.pop(0)
        steps += 1
        if part == "hitcount":
            hits += 1
            if hits == 1 or version < SINCE_NOHITCOUNT:
                continue
        values.append(_checked(expressions.read(part, HistFlag(0)), part, version))
    if parts and ",".join(parts) != "hitcount":
        raise HistError(errno.EINVAL, *expressions.logged)
    if not values and attributes.no_hitcount:
        raise HistError(errno.ENOENT, *expressions.logged, LogEntry("NEED_NOHC_VAL", ""))
    return tuple(values)


def _checked(field: HistField, text: str, version: tuple[int, ...]) -> HistField:
    """Refuse modifiers that values and variables may not have."""
    if field.has(HistFlag.VAR):
        refused = _SCALED | _SHARES
    else:
        refused = _SCALED | _SHOWN
        if not shares_of_values(version):
            refused |= _SHARES
    if version >= SINCE_VALUE_CHECKS and field.has(refused):
        raise HistError(errno.EINVAL, LogEntry("BAD_FIELD_MODIFIER", text))
    return field


def _keys(
    attributes: Attributes, expressions: Expressions, version: tuple[int, ...]
) -> tuple[HistField, ...]:
    keys: list[HistField] = []
    parts = attributes.keys.split(",")
    stack = 8 * stack_depth(version)
    size = 0
    for part in parts[:_MOST_KEYS]:
        key = expressions.key(part)
        key = replace(key, size=-(-key.size // 8) * 8)
        size += key.size
        if size > STRING_BYTES + stack:
            raise HistError(errno.EINVAL, *expressions.logged)
        keys.append(key)
    if len(parts) > _MOST_KEYS:
        raise HistError(errno.EINVAL, *expressions.logged)
    return tuple(keys)


def _sorts(attributes: Attributes, fields: list[HistField]) -> tuple[SortKey, ...]:
    if attributes.sort is None:
        return (SortKey(),)
    parts = attributes.sort.split(",")
    found = []
    for number, part in enumerate(parts):
        name, dot, order = part.partition(".")
        if not part:
            raise HistError(errno.EINVAL, LogEntry("EMPTY_SORT_FIELD", "sort="))
        if number == _MOST_SORTS - 1 and len(parts) > _MOST_SORTS:
            raise HistError(errno.EINVAL, LogEntry("TOO_MANY_SORT_FIELDS", "sort="))
        if not name:
            raise HistError(errno.EINVAL, LogEntry("EMPTY_SORT_FIELD", "sort="))
        index = 0
        if name != "hitcount":
            names = [field.name for field in fields]
            if name not in names:
                raise HistError(errno.EINVAL, LogEntry("INVALID_SORT_FIELD", name))
            index = names.index(name) + 1
        if dot and order not in ("ascending", "descending"):
            raise HistError(errno.EINVAL, LogEntry("INVALID_SORT_MODIFIER", order))
        found.append(SortKey(index, order == "descending"))
    return tuple(found)
