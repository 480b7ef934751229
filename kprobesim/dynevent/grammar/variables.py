"""``$stack3``, ``$retval``, ``$comm``, ``$arg1``, ``$current``: parse_probe_vars()."""

from __future__ import annotations

import errno

from kprobesim.dynevent.fetch import (
    Argument,
    Comm,
    CurrentTask,
    Field,
    Retval,
    Stack,
    StackPointer,
    Variable,
)
from kprobesim.dynevent.grammar.c_text import kstrtoul
from kprobesim.dynevent.grammar.context import Context, Reading
from kprobesim.dynevent.grammar.members import parse_variable

__all__ = ["parse_dollar"]


def parse_dollar(text: str, context: Context) -> Reading:
    """The variable ``text``, which starts with ``$``.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    name = text[1:]
    dialect = context.dialect
    if context.event:
        return Reading(Field(name))
    if name in ("comm", "COMM"):
        return Reading(Comm())
    if name == "retval" or (name.startswith("retval") and dialect.knows("NOSUP_BTFARG")):
        return _parse_retval(text, context)
    if name.startswith("stack"):
        return _parse_stack(name[5:], context)
    if name.startswith("current") and dialect.newest:
        return _parse_current(text, context)
    if name.startswith("arg*") and context.kernel.types is None:
        return Reading(Variable("$arg*"))
    if name.startswith("arg"):
        return _parse_argument(name[3:], context)
    raise context.error("BAD_VAR")


def _parse_retval(text: str, context: Context) -> Reading:
    if not context.returns:
        raise context.error("RETVAL_ON_PROBE")
    if context.dialect.btf:
        return parse_variable(text, context)
    return Reading(Retval())


def _parse_stack(text: str, context: Context) -> Reading:
    if not text:
        return Reading(StackPointer())
    if not (text[0].isdigit() and text[0].isascii()):
        raise context.error("BAD_VAR")
    number, index = kstrtoul(text, 10)
    if number:
        raise context.error("BAD_VAR", number=context.dialect.number_errno or number)
    if index > context.kernel.stack_words:
        raise context.error("BAD_STACK_NUM")
    return Reading(Stack(index))


def _parse_current(text: str, context: Context) -> Reading:
    rest = text.removeprefix("$current")
    if rest.startswith("-") and context.dialect.btf:
        return parse_variable(text, context)
    if rest:
        raise context.error("BAD_VAR")
    return Reading(CurrentTask())


def _parse_argument(text: str, context: Context) -> Reading:
    late = context.dialect.return_arguments
    if not (context.at_entry or late):
        raise context.error("BAD_VAR")
    number, ordinal = kstrtoul(text, 10)
    if number:
        raise context.error("BAD_VAR", number=context.dialect.number_errno or number)
    if not 1 <= ordinal <= context.kernel.stack_words:
        raise context.error("BAD_ARG_NUM", number=errno.EINVAL)
    if not (context.at_entry or context.returns):
        raise context.error("NOFENTRY_ARGS")
    return Reading(Argument(ordinal))
