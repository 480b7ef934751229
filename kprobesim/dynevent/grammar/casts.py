"""``(STRUCT)POINTER->MEMBER`` and ``this_cpu_read(@VARIABLE)``, as Linux 7.3 takes them.

``handle_typecast()`` and ``parse_this_cpu()`` of kernel/trace/trace_probe.c.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

from kprobesim.dynevent.fetch import Comm, ImmediateString, Memory, ThisCpu
from kprobesim.dynevent.grammar.context import Context, Reading
from kprobesim.dynevent.grammar.members import (
    bit_offset_of_field,
    find_structure,
    parse_fields,
    unresolved_cast,
)

__all__ = ["parse_cast", "parse_per_cpu", "per_cpu_prefix"]

ParseFetch = Callable[[str, Context], Reading]

_POINTER, _READ = "this_cpu_ptr(", "this_cpu_read("


def per_cpu_prefix(text: str) -> str:
    """``this_cpu_ptr(`` or ``this_cpu_read(`` if ``text`` starts so, else nothing."""
    return next((prefix for prefix in (_POINTER, _READ) if text.startswith(prefix)), "")


def parse_per_cpu(text: str, context: Context, parse: ParseFetch) -> Reading:
    """``this_cpu_ptr(FETCH)``, ``this_cpu_read(FETCH)``.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    prefix = per_cpu_prefix(text)
    context.offset += len(prefix)
    rest = text[len(prefix) :]
    if ")" not in rest:
        raise context.error("DEREF_OPEN_BRACE", len(rest))
    inner = rest.rpartition(")")[0]
    column = context.offset
    reading = parse(inner, context)
    context.offset = column
    if isinstance(reading.fetch, Comm | ImmediateString):
        raise context.error("COMM_CANT_DEREF")
    if isinstance(reading.fetch, Memory) and inner.startswith("@"):
        reading = Reading(ThisCpu(reading.fetch.place), reading.slot)
    else:
        reading = Reading(ThisCpu(reading.fetch), context.dereference(reading, 0).slot)
    context.member = None
    return context.dereference(reading, 0) if prefix == _READ else reading


def parse_cast(text: str, context: Context, parse: ParseFetch) -> Reading:
    """``(STRUCT[,MEMBER])FETCH->MEMBER``, where FETCH may be in parentheses.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    usable = context.at_entry or context.returns or context.event
    if not context.dialect.btf or not usable:
        raise context.error("NOSUP_BTFARG", number=errno.EOPNOTSUPP)
    start = context.offset
    head, brace, rest = text.partition(")")
    if not brace:
        raise context.error("DEREF_OPEN_BRACE", len(text))
    context.offset += len(head) + 1
    inner, fields = _split_cast(rest, context)
    reading = parse(inner, context)
    context.offset = start + 1
    name, comma, option = head[1:].partition(",")
    if context.kernel.types is None:
        return unresolved_cast(reading, name, fields, context)
    structure = find_structure(name, context)
    if structure is None:
        raise context.error("NO_PTR_STRCT")
    before = 0
    if comma:
        context.offset += len(name) + 1
        bits, _, left, _ = bit_offset_of_field(option, structure, context)
        if bits % 8:
            raise context.error("TYPECAST_NOT_ALIGNED")
        if left is not None:
            raise context.error("TYPECAST_BAD_ARROW", -2)
        before = bits // 8
    context.offset = start + len(text) - len(fields)
    return parse_fields(fields, structure, reading, context, structure=True, before=before)


def _split_cast(rest: str, context: Context) -> tuple[str, str]:
    """What is cast, and the members behind it."""
    if rest.startswith("("):
        close = _matching(rest, 0)
        if close is None:
            raise context.error("DEREF_OPEN_BRACE")
        if not rest.startswith("->", close + 1):
            raise context.error("TYPECAST_REQ_FIELD", close + 1)
        context.offset += 1
        return rest[1:close], rest[close + 3 :]
    if rest[:1] in ("+", "-") or per_cpu_prefix(rest):
        opened = rest.find("(", 1)
        if opened < 0:
            raise context.error("DEREF_NEED_BRACE")
        close = _matching(rest, opened)
        if close is None:
            raise context.error("DEREF_OPEN_BRACE", len(rest))
        if not rest.startswith("->", close + 1):
            raise context.error("TYPECAST_REQ_FIELD", close + 1)
        return rest[: close + 1], rest[close + 3 :]
    if rest.startswith("@"):
        sign = re.search("[+-]", rest)
        if sign is not None and re.match("[0-9]", rest[sign.end() :]):
            raise context.error("TYPECAST_SYM_OFFSET")
    inner, hyphen, behind = rest.partition("-")
    if not hyphen or not behind.startswith(">"):
        raise context.error("TYPECAST_REQ_FIELD", len(rest))
    return inner, behind[1:]


def _matching(text: str, start: int) -> int | None:
    """Where the parenthesis at ``start`` is closed."""
    count = 0
    for at in range(start, len(text)):
        count += (text[at] == "(") - (text[at] == ")")
        if not count:
            return at
    return None
