"""Field values as the kernel prints them (kernel/trace/trace_probe.c, ``PRINT_TYPE_FUNC``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.dynevent.fetch import Comm
from kprobesim.dynevent.fetch_type import FetchType
from kprobesim.programs.fault import FAULT

__all__ = [
    "PRINT_FORMATS",
    "Naming",
    "show_field",
    "show_fields",
]

PRINT_FORMATS = {
    **{f"u{bits}": "%u" for bits in (8, 16, 32)},
    **{f"s{bits}": "%d" for bits in (8, 16, 32)},
    **{f"x{bits}": "0x%x" for bits in (8, 16, 32)},
    "u64": "%Lu",
    "s64": "%Ld",
    "x64": "0x%Lx",
    "char": "'%c'",
    "symbol": "%pS",
    **dict.fromkeys(("string", "ustring", "symstr"), '\\"%s\\"'),
}
"""Of each type, as ``print fmt`` of an event's format says it."""


class Naming(Protocol):
    """What names addresses."""

    def __call__(self, address: int) -> str:
        """``SYMBOL+0xOFFSET/0xSIZE``, with `` [MODULE]``; a number where nothing is known."""


def show_field(value: Any, kind: FetchType, name: Naming) -> str:
    """A field's value, an array in braces.

    Args:
        value: A number, a string, ``FAULT``; or a tuple of them.
        kind: The field's type.
        name: Names addresses.
    """
    if kind.count:
        return "{" + ",".join(_show(one, kind, name) for one in value) + "}"
    return _show(value, kind, name)


def show_fields(arguments: Sequence[ProbeArgument], fields: Mapping[str, Any], name: Naming) -> str:
    """All arguments with their values, each behind a space.

    The text of a ``symstr`` has no NUL in the record (kernel/trace/trace_probe_tmpl.h,
    ``fetch_store_symstring()``), so it runs on in that of the next string.
    """
    shown = ""
    behind = _behind(arguments, fields)
    for number, argument in enumerate(arguments):
        value = fields[argument.name]
        if argument.type.name == "symstr" and not isinstance(argument.fetch, Comm):
            value = f"{value}{behind[number]}"
        shown += f" {argument.name}={show_field(value, argument.type, name)}"
    return shown


def _behind(arguments: Sequence[ProbeArgument], fields: Mapping[str, Any]) -> list[str]:
    """What each symstr runs on in."""
    found, text = list[str](), ""
    for argument in reversed(arguments):
        found.append(text)
        if not argument.type.is_string:
            continue
        value = fields[argument.name]
        values = value if isinstance(value, tuple) else (value,)
        known = [each for each in values if each is not FAULT]
        if known:
            runs_on = argument.type.name == "symstr" and not isinstance(argument.fetch, Comm)
            text = f"{known[0]}{text}" if runs_on else known[0]
    return found[::-1]


def _show(value: Any, kind: FetchType, name: Naming) -> str:
    if kind.is_string:
        return "(fault)" if value is FAULT else f'"{value}"'
    if kind.name == "symbol":
        return name(value)
    if kind.name == "char":
        return f"'{chr(value)}'"
    if kind.name.startswith("x"):
        return f"{value:#x}"
    return str(value)
