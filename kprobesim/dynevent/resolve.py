"""Symbols of arguments become addresses when an event is registered: traceprobe_update_arg()."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from kprobesim.dynevent.definition import ProbeDefinition
from kprobesim.dynevent.fetch import Address, Fetch
from kprobesim.dynevent.grammar.place import split_symbol
from kprobesim.sizes import MASK64

__all__ = ["Resolved", "resolve_symbols"]


class Resolved(NamedTuple):
    """A definition whose arguments name no symbols, or the errno of one that cannot be found."""

    definition: ProbeDefinition
    errno: int = 0


def resolve_symbols(definition: ProbeDefinition, lookup: Callable[[str], int | None]) -> Resolved:
    """``definition`` with addresses for what ``@SYMBOL+OFFSET`` names.

    Args:
        definition: The probe.
        lookup: ``kallsyms_lookup_name()``; ``None``: there is none.
    """
    found = []
    for argument in definition.arguments:
        number, fetch = _resolved(argument.fetch, lookup)
        if number:
            return Resolved(definition, number)
        found.append(replace(argument, fetch=fetch))
    return Resolved(replace(definition, arguments=tuple(found)))


def _resolved(fetch: Fetch, lookup: Callable[[str], int | None]) -> tuple[int, Any]:
    if isinstance(fetch, Address):
        if fetch.symbol is None:
            return 0, fetch
        number, symbol, offset = split_symbol(fetch.symbol)
        if number:
            return number, fetch
        address = lookup(symbol)
        if address is None:
            return errno.ENOENT, fetch
        return 0, Address(address + offset & MASK64)
    for field in fields(fetch):
        inner = getattr(fetch, field.name)
        if is_dataclass(inner):
            number, changed = _resolved(inner, lookup)  # type: ignore[arg-type]
            if number or changed is not inner:
                return number, replace(fetch, **{field.name: changed})
    return 0, fetch
