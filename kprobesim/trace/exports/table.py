"""The entries of a trace as rows of one table: what they have in common, then what events fetch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.dynevent.fetch_type import FetchType
from kprobesim.programs.fault import FAULT
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.frames import StackNames

__all__ = ["Cell", "Column", "make_columns"]

Cell = int | str | tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Its name.
        bits: How many a number in it has; 0: it has strings.
        signed: Whether the numbers are signed.
        many: Whether each cell is a list.
        cell: What an entry has there; ``None``: nothing.
    """

    name: str
    bits: int
    signed: bool
    many: bool
    cell: Callable[[TraceEntry], Cell]


def make_columns(
    arguments: Mapping[str, Sequence[ProbeArgument]], names: StackNames, *, stacks: bool = True
) -> list[Column]:
    """The columns for events with such ``arguments``, by ``GROUP/NAME``.

    An argument's column has its name. Where events have arguments of one name and of different
    types, each has a column of its own, ``NAME.ARGUMENT``.

    Args:
        arguments: What each event fetches.
        names: Names addresses.
        stacks: Whether there is a column ``stack``: functions, the outermost first, as text.
    """
    columns = [
        Column("time", 64, True, False, lambda e: e.time),
        Column("cpu", 32, False, False, lambda e: e.cpu),
        Column("pid", 32, True, False, lambda e: e.pid),
        Column("tgid", 32, True, False, lambda e: e.tgid),
        Column("comm", 0, False, False, lambda e: e.comm),
        Column("flags", 8, False, False, lambda e: e.flags),
        Column("preempt_count", 8, False, False, lambda e: e.preempt_count),
        Column("event", 0, False, False, lambda e: e.event),
        Column("ip", 64, False, False, lambda e: e.ip),
        Column("func", 64, False, False, lambda e: e.func),
        Column("place", 0, False, False, lambda e: names.at(e.ip, exact=e.func is None)[-1].place),
    ]
    if stacks:
        columns.append(Column("stack", 0, False, False, lambda e: _stack(e, names)))
    taken = {column.name for column in columns}
    by_name: dict[str, dict[tuple[int, bool, bool], list[str]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for event, fetched in arguments.items():
        for argument in fetched:
            by_name[argument.name][_kind(argument.type)].append(event)
    for name, kinds in by_name.items():
        for (bits, signed, many), events in kinds.items():
            if len(kinds) == 1 and name not in taken:
                columns.append(Column(name, bits, signed, many, _field(name, events)))
                continue
            for event in events:
                own = f"{event.rpartition('/')[2]}.{name}"
                columns.append(Column(own, bits, signed, many, _field(name, [event])))
    return columns


def _kind(kind: FetchType) -> tuple[int, bool, bool]:
    bits = 0 if kind.is_string else kind.bits
    return bits, kind.signed and bits > 0, kind.count is not None


def _field(name: str, events: Iterable[str]) -> Callable[[TraceEntry], Cell]:
    whose = frozenset(events)

    def cell(entry: TraceEntry) -> Cell:
        if entry.event not in whose:
            return None
        value = entry.fields[name]
        if isinstance(value, tuple):
            return tuple(None if one is FAULT else one for one in value)
        found: Cell = None if value is FAULT else value
        return found

    return cell


def _stack(entry: TraceEntry, names: StackNames) -> Cell:
    if entry.stack is None:
        return None
    return ";".join(frame.function for frame in reversed(names.of(entry)))
