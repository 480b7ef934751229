r"""What an argument fetches: ``%di``, ``@jiffies``, ``+8(%si)``, ``\42``, ``file->f_pos``.

``parse_probe_arg()`` of kernel/trace/trace_probe.c.
"""

from __future__ import annotations

import errno

from kprobesim.dynevent.fetch import (
    Address,
    Comm,
    Field,
    Immediate,
    ImmediateString,
    Memory,
    Register,
)
from kprobesim.dynevent.grammar.c_text import is_letter, kstrtol, kstrtoul
from kprobesim.dynevent.grammar.casts import parse_cast, parse_per_cpu, per_cpu_prefix
from kprobesim.dynevent.grammar.context import Context, Reading
from kprobesim.dynevent.grammar.members import parse_variable
from kprobesim.dynevent.grammar.variables import parse_dollar
from kprobesim.sizes import MASK64

__all__ = ["parse_fetch"]


def parse_fetch(text: str, context: Context) -> Reading:
    """What ``text`` says is to be read; ``context.offset`` is its column.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    first = text[:1]
    newest = context.dialect.newest
    if first in ("+", "-") or (newest and (first == "(" or per_cpu_prefix(text))):
        return _parse_nested(text, context)
    if first == "$":
        return parse_dollar(text, context)
    if first == "%":
        return _parse_register(text, context)
    if first == "@":
        return _parse_memory(text, context)
    if first == "\\":
        return _parse_immediate(text, context)
    if context.event and is_letter(text):
        return Reading(Field(text))
    if context.dialect.knows("NOSUP_BTFARG") and is_letter(text):
        usable = context.at_entry or (context.returns and context.dialect.return_arguments)
        if not usable:
            raise context.error("NOSUP_BTFARG")
        return parse_variable(text, context)
    if first == "(" and context.dialect.knows("TYPECAST_NOT_EVENT"):
        raise context.error("TYPECAST_NOT_EVENT")
    raise context.error("BAD_FETCH_ARG")


def _parse_nested(text: str, context: Context) -> Reading:
    """What has another fetch in it. Of those only so many may be open (7.3)."""
    most = context.dialect.most_nested
    if most and context.depth >= most:
        raise context.error("TOO_MANY_NESTED", number=errno.E2BIG)
    context.depth += 1
    if text[0] in "+-":
        return _parse_dereference(text, context)
    if text[0] == "(":
        return parse_cast(text, context, parse_fetch)
    return parse_per_cpu(text, context, parse_fetch)


def _parse_register(text: str, context: Context) -> Reading:
    if not context.has_registers:
        raise context.error("BAD_VAR")
    name = context.kernel.registers.get(text[1:])
    if name is None:
        raise context.error("BAD_REG_NAME")
    return Reading(Register(name))


def _parse_memory(text: str, context: Context) -> Reading:
    """``@ADDRESS`` and ``@SYMBOL``, whose offset is looked at when the event is registered."""
    if text[1:2].isdigit() and text[1:2].isascii():
        number, address = kstrtoul(text[1:])
        if number:
            raise context.error("BAD_MEM_ADDR", number=number)
        return Reading(Memory(Address(address)), 1)
    if text[1:2] == "+":
        raise context.error("FILE_ON_KPROBE")
    return Reading(Memory(Address(symbol=text[1:])), 2)


def _parse_dereference(text: str, context: Context) -> Reading:
    user = text[1:2] == "u"
    if user:
        text = text[0] + text[2:]
    text = text.removeprefix("+")
    offset_text, brace, inner = text.partition("(")
    if not brace:
        raise context.error("DEREF_NEED_BRACE")
    number, offset = kstrtol(offset_text)
    if number:
        raise context.error("BAD_DEREF_OFFS", number=number)
    # The u is not counted, and a plus is unless a minus follows it: so does the kernel.
    context.offset += len(offset_text) + 1 + (not offset_text.startswith("-"))
    inner, brace, _ = inner.rpartition(")") if ")" in inner else (inner, "", "")
    if not brace:
        raise context.error("DEREF_OPEN_BRACE", len(inner))
    column = context.offset
    reading = parse_fetch(inner, context)
    context.offset = column
    if isinstance(reading.fetch, Comm | ImmediateString):
        raise context.error("COMM_CANT_DEREF")
    reading = context.dereference(reading, offset, user=user)
    context.member = None
    return reading


def _parse_immediate(text: str, context: Context) -> Reading:
    value = text[1:]
    if value.startswith('"'):
        string = value[1:]
        closed = string.endswith('"') or (not string and context.dialect.unclosed_string)
        if not closed:
            raise context.error("IMMSTR_NO_CLOSE", 2 + len(string))
        return Reading(ImmediateString(string[:-1]))
    number, found = errno.EINVAL, 0
    if value[:1].isdigit() and value[:1].isascii():
        number, found = kstrtoul(value)
    elif value.startswith("-"):
        number, found = kstrtol(value)
    elif value.startswith("+"):
        number, found = kstrtol(value[1:])
    if number:
        raise context.error("BAD_IMM", 1, number)
    return Reading(Immediate(found & MASK64))
