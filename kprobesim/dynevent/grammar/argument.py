"""One argument: ``[NAME=]FETCH[:TYPE]``, traceprobe_parse_probe_arg()."""

from __future__ import annotations

import errno
from collections.abc import Container
from dataclasses import replace

from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.dynevent.fetch import (
    Argument,
    Cast,
    Comm,
    Deref,
    Field,
    Immediate,
    ImmediateString,
    Memory,
    Register,
    Retval,
    Stack,
    Variable,
)
from kprobesim.dynevent.fetch_type import FETCH_TYPES, FetchType
from kprobesim.dynevent.grammar.c_text import as_text, is_good_name, kstrtouint
from kprobesim.dynevent.grammar.context import LAST_SLOT, Context, Reading
from kprobesim.dynevent.grammar.fetching import parse_fetch
from kprobesim.dynevent.grammar.types import find_type, parse_bitfield, type_of, with_string_pointer

__all__ = ["MOST_BYTES", "RESERVED", "parse_argument"]

#: Names that each event has already (``reserved_field_names``).
RESERVED = frozenset(
    "common_type common_flags common_preempt_count common_pid common_tgid"
    " __probe_ip __probe_ret_ip __probe_func".split()
)

#: What the arguments of an event may take in its record (MAX_PROBE_EVENT_SIZE).
MOST_BYTES = 3072
_MOST_NAME = 32  # MAX_ARG_NAME_LEN
_MOST_ELEMENTS = 64  # MAX_ARRAY_LEN
_UNKNOWN = Variable | Cast | Field
"""What types would have to tell whether it is in memory."""


def parse_argument(
    word: str, ordinal: int, used: Container[str], size: int, context: Context
) -> ProbeArgument:
    """One argument; ``context.word`` is its index.

    Args:
        word: What was written.
        ordinal: Its position, from 1.
        used: The names of those before it.
        size: Bytes that those before it take.
        context: Of the definition.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    context.offset = 0
    context.depth = 0
    context.member = None
    name, equals, body = word.partition("=")
    if equals:
        if len(name) > _MOST_NAME:
            raise context.error("ARG_NAME_TOO_LONG")
        if not name:
            raise context.error("NO_ARG_NAME")
    else:
        body = word
        bare = word.partition(":")[0]
        name = bare if context.dialect.btf and is_good_name(bare) else f"arg{ordinal}"
    if not is_good_name(name):
        raise context.error("BAD_ARG_NAME")
    if name in RESERVED or name in used:
        raise context.error("USED_ARG_NAME")
    context.offset = len(word) - len(body)
    argument = _parse_body(body, size, context)
    return replace(argument, name=as_text(name))


def _parse_body(body: str, size: int, context: Context) -> ProbeArgument:
    """What is fetched, and how it is stored: traceprobe_parse_probe_arg_body()."""
    if len(body) > context.dialect.longest_body:
        raise context.error("ARG_TOO_LONG", number=context.dialect.too_long_errno)
    if not body:
        raise context.error("NO_ARG_BODY")
    fetch_text, colon, type_text = body.partition(":")
    count = None
    if colon:
        count, type_text = _parse_array(type_text, len(fetch_text) + 1, context)
    given = type_text if colon else None
    column = len(fetch_text) + 1 if colon else 0
    type = _chosen_type(fetch_text, given, count, column, context)
    start = context.offset
    reading = parse_fetch(fetch_text, context)
    if not context.dialect.running_column:
        context.offset = start
    if context.member is not None:
        if given is None:
            type = replace(type_of(context.member), count=type.count)
        elif "string" in given:
            reading = with_string_pointer(given, reading, context)
    if context.dialect.knows("EVENT_TOO_BIG") and size + type.size > MOST_BYTES:
        raise context.error("EVENT_TOO_BIG", number=errno.E2BIG)
    type = _finish(reading, type, given, column, context)
    return ProbeArgument("", as_text(body), reading.fetch, type)


def _parse_array(text: str, column: int, context: Context) -> tuple[int | None, str]:
    """The number of elements, if it is an array, and the type without it."""
    type_text, bracket, rest = text.partition("[")
    if not bracket:
        return None, text
    column += len(type_text) + 1
    number_text, bracket, suffix = rest.partition("]")
    if not bracket:
        raise context.error("ARRAY_NO_CLOSE", column + len(rest))
    if suffix:
        raise context.error("BAD_ARRAY_SUFFIX", column + len(number_text) + 1)
    number, count = kstrtouint(number_text)
    if number or not count:
        raise context.error("BAD_ARRAY_NUM", column)
    if count > _MOST_ELEMENTS:
        raise context.error("ARRAY_TOO_BIG", column)
    return count, type_text


def _chosen_type(
    fetch_text: str, given: str | None, count: int | None, column: int, context: Context
) -> FetchType:
    """The type that was written, or the default for what is fetched."""
    dialect = context.dialect
    if fetch_text in ("$comm", "$COMM") or fetch_text.startswith('\\"'):
        if count is not None or given not in (None, "string"):
            raise context.error("NEED_STRING_TYPE", column)
        return FETCH_TYPES["string"]
    type = find_type(given, dialect)
    if type is None:
        raise context.error("BAD_TYPE", column)
    return replace(type, count=count)


def _finish(
    reading: Reading, type: FetchType, given: str | None, column: int, context: Context
) -> FetchType:
    """What the value is stored by: finalize_fetch_insn()."""
    fetch, slot = reading
    in_place = isinstance(fetch, Deref | Memory | _UNKNOWN)
    if type.is_string:
        _check_string(fetch, type, column, context)
        pointed = in_place and type.name != "symstr" and type.count is None
        if not pointed:
            slot += 1
            if slot >= LAST_SLOT:
                raise context.error("TOO_MANY_OPS")
    elif not in_place:
        slot += 1
        if slot >= LAST_SLOT:
            raise context.error("TOO_MANY_OPS", number=context.dialect.full_errno)
    if given is not None:
        saturates = context.dialect.saturates
        bitfield = parse_bitfield(given, type.bits, slot, saturates=saturates)
        if bitfield is None:
            raise context.error("BAD_BITFIELD", column)
        if bitfield[0]:
            slot += 1
            type = replace(type, bitfield=bitfield)
    elif context.member is not None:
        member = context.member
        if member.bit_size % 8 or member.bit_offset:
            slot += 1
            if slot >= LAST_SLOT:
                raise context.error("TOO_MANY_OPS")
            type = replace(type, bitfield=(member.bit_size, member.bit_offset))
    if type.count is not None:
        by_user = isinstance(fetch, Deref) and fetch.user and not type.is_string
        if type.name == "symstr" or by_user or not (in_place or type.is_string):
            raise context.error("BAD_STRING", column)
        if slot + 1 >= LAST_SLOT:
            raise context.error("TOO_MANY_OPS", number=context.dialect.full_errno)
    return type


def _check_string(fetch: object, type: FetchType, column: int, context: Context) -> None:
    """Whether what is fetched can be a string."""
    if isinstance(fetch, _UNKNOWN):
        return
    if type.name == "symstr":
        fits = isinstance(fetch, Register | Stack | Retval | Memory)
        if isinstance(fetch, Argument):
            fits = context.at_entry
        if isinstance(fetch, Deref):
            fits = not fetch.user
        if not fits:
            raise context.error("BAD_SYMSTRING", column)
    elif not isinstance(fetch, Deref | Memory | Immediate | Comm | ImmediateString):
        raise context.error("BAD_STRING", column)
