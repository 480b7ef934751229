"""A histogram as text: the line of its trigger, and the file ``hist``.

kernel/trace/trace_events_hist.c: ``event_hist_trigger_print()``, ``hist_trigger_show()``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kprobesim.image import SymbolTable
from kprobesim.sizes import MASK64
from kprobesim.trace.hist.definition import HistDefinition
from kprobesim.trace.hist.entry import Entry
from kprobesim.trace.hist.hist_field import HistField, HistFlag
from kprobesim.trace.hist.histogram import Histogram
from kprobesim.trace.hist.versions import DOUBLE_CPU, SINCE_NAMES, marks_variables

__all__ = ["HistText", "trigger_text"]

_BAR = 20


def trigger_text(definition: HistDefinition, filter_text: str | None, *, paused: bool) -> str:
    """The line of a hist trigger in the file ``trigger``, without its end."""
    attributes = definition.attributes
    name = f"{attributes.name}:" if attributes.name else ""
    version = definition.version
    keys = ",".join(_key_text(field, version) for field in definition.keys)
    shown = [] if attributes.no_hitcount else ["hitcount"]
    shown += [_field_text(field, version) for field in definition.values]
    parts = [f"hist:{name}keys={keys}", f"vals={','.join(shown)}"]
    if definition.variables:
        parts.append(",".join(_field_text(field, version) for field in definition.variables))
    parts.append(f"sort={','.join(_sorts(definition))}")
    parts.append(f"size={1 << attributes.bits}")
    if definition.uses_time:
        parts.append(f"clock={attributes.clock}")
    if attributes.no_hitcount:
        parts.append("nohitcount")
    parts[-1] += "".join(map(str, definition.actions))
    condition = "" if filter_text is None else f" if {filter_text}"
    return f"{':'.join(parts)}{condition} [{'paused' if paused else 'active'}]"


def _key_text(field: HistField, version: tuple[int, ...]) -> str:
    if field.has(HistFlag.STACKTRACE):
        return _stack_name(field, version)
    return _field_text(field, version)


def _stack_name(field: HistField, version: tuple[int, ...]) -> str:
    if version < SINCE_NAMES:
        return "stacktrace"
    return "common_stacktrace" if field.field is None else f"{field.field.name}.stacktrace"


def _field_text(field: HistField, version: tuple[int, ...]) -> str:
    """``hist_field_print()``."""
    text = f"{field.variable}=" if field.variable else ""
    if field.has(HistFlag.CPU):
        text += "common_cpu"
    doubled = version >= DOUBLE_CPU
    if field.has(HistFlag.COMM):
        text += "common_comm"
    elif field.has(HistFlag.CONST):
        text += str(field.number)
    elif field.has(HistFlag.VAR_REF):
        marked = "." in field.name and marks_variables(version)
        text += field.name if marked else f"${field.name}"
    elif not field.has(HistFlag.CPU) or doubled:
        text += field.name
    is_reference = field.has(HistFlag.VAR_REF) and not field.variable
    modified = not field.has(HistFlag.EXPR) and not is_reference
    if modified and not (field.has(HistFlag.STACKTRACE) and version >= SINCE_NAMES):
        text += field.modifier
    return f"{text}={field.buckets}" if field.buckets else text


def _sorts(definition: HistDefinition) -> list[str]:
    fields = [*definition.values, *definition.keys]
    return [
        ("hitcount" if not sort.index else _field_text(fields[sort.index - 1], definition.version))
        + (".descending" if sort.descending else "")
        for sort in definition.sorts
    ]


class HistText:
    """Makes the text of histograms.

    Args:
        symbols: Names addresses.
        syscall: Names a system call by its number; ``None``: there is none of that number.
    """

    def __init__(self, symbols: SymbolTable, syscall: Callable[[int], str | None]) -> None:
        self._symbols = symbols
        self._syscall = syscall

    def show(self, histogram: Histogram, trigger: str) -> str:
        """What the file ``hist`` says of one histogram.

        Args:
            histogram: It.
            trigger: The line of its trigger.
        """
        entries = histogram.sorted()
        definition = histogram.definition
        shares = _Shares(definition, entries)
        acting = histogram.acting
        lines = "".join(
            self._entry(entry, definition, shares)
            + ("" if acting is None else acting.entry_text(entry))
            + "\n"
            for entry in entries
        )
        if acting is not None:
            lines += acting.snapshot_text(
                lambda taken: self._keys(taken.key or (), taken.comm, definition)
            )
        totals = (
            f"\nTotals:\n    Hits: {histogram.hits}\n    Entries: {len(entries)}\n"
            f"    Dropped: {histogram.drops}\n"
        )
        return f"# event histogram\n#\n# trigger info: {trigger}\n#\n\n{lines}{totals}"

    def _entry(self, entry: Entry, definition: HistDefinition, shares: _Shares) -> str:
        text = self._keys(entry.key, entry.comm, definition)
        if not definition.attributes.no_hitcount:
            text += f" hitcount: {entry.sums[0]:10}"
        for number, field in enumerate(definition.values, 1):
            if not field.has(HistFlag.EXPR):
                text += " " + shares.value(field, number, entry.sums[number])
        return text

    def _keys(self, key: Sequence[Any], comm: str, definition: HistDefinition) -> str:
        keys, multiline = [], False
        for part, field in zip(key, definition.keys, strict=True):
            keys.append(self._key(part, field, comm, definition.version))
            multiline = multiline or field.has(HistFlag.STACKTRACE)
        return f"{{ {', '.join(keys)}{'' if multiline else ' '}}}"

    def _key(self, part: Any, field: HistField, comm: str, version: tuple[int, ...]) -> str:
        name = field.name
        if field.has(HistFlag.HEX):
            return f"{name}: {part:x}"
        if field.has(HistFlag.SYM):
            return f"{name}: [{part:x}] {self._name(part):<45}"
        if field.has(HistFlag.SYM_OFFSET):
            return f"{name}: [{part:x}] {self._place(part):<55}"
        if field.has(HistFlag.EXECNAME):
            return f"{name}: {comm:<16}[{part:10}]"
        if field.has(HistFlag.SYSCALL):
            call = self._syscall(part) or "unknown_syscall"
            return f"{name}: {call:<30}[{part:3}]"
        if field.has(HistFlag.STACKTRACE):
            lines = "".join(f"         {self._place(address)}\n" for address in part)
            return f"{_stack_name(field, version)}:\n{lines}"
        if field.has(HistFlag.LOG2):
            return f"{name}: ~ 2^{part:<2}"
        if field.has(HistFlag.BUCKET):
            return f"{name}: ~ {part}-{part + field.buckets - 1 & MASK64}"
        if field.has(HistFlag.STRING):
            return f"{name}: {part.decode('utf-8', 'surrogateescape'):<50}"
        return f"{name}: {part:10}"

    def _place(self, address: int) -> str:
        found = self._symbols.at(address)
        return f"{address:#x}" if found is None else str(found)

    def _name(self, address: int) -> str:
        """The name of a place without its offset."""
        found = self._symbols.at(address)
        if found is None:
            return f"{address:#x}"
        name, _, rest = str(found).partition("+")
        module = rest.partition(" ")[2]
        return f"{name} {module}" if module else name


class _Shares:
    """Values as numbers, and as shares of all."""

    def __init__(self, definition: HistDefinition, entries: Sequence[Entry]) -> None:
        self._totals = [0] * (1 + len(definition.values))
        self._most = [0] * (1 + len(definition.values))
        for entry in entries:
            for number, value in enumerate(entry.sums):
                self._totals[number] = self._totals[number] + value & MASK64
                self._most[number] = max(self._most[number], value)

    def value(self, field: HistField, number: int, value: int) -> str:
        """One value with its name."""
        name = field.name
        if field.has(HistFlag.PERCENT):
            share = _percentage(value, self._totals[number])
            if share is None:
                return f" {name} (%):[ERROR]"
            return f" {name} (%): {share // 100:3}.{share % 100:02}"
        if field.has(HistFlag.GRAPH):
            share = _percentage(value, self._most[number])
            if share is None:
                return f" {name}: {'[ERROR]':>{_BAR}}"
            length = min(share * _BAR // 10000, _BAR)
            return f" {name}: {'#' * length:<{_BAR}}"
        return f" {name}: {value:10x}" if field.has(HistFlag.HEX) else f" {name}: {value:10}"


def _percentage(value: int, total: int) -> int | None:
    """In hundredths of a percent (``__get_percentage()``); ``None``: of nothing."""
    if not total:
        return None if value else 0
    if value < MASK64 // 10000:
        return value * 10000 // total
    total //= 10000
    return value // total if total else None
