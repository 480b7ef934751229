"""Field values as the kernel prints them (kernel/trace/trace_probe.c, ``PRINT_TYPE_FUNC``)."""

from __future__ import annotations

from typing import Any, Protocol

from kprobesim.dynevent.fetch_type import FetchType
from kprobesim.programs.fault import FAULT

__all__ = ["PRINT_FORMATS", "Naming", "show_field"]

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
