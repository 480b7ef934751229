"""All arguments of a definition, in order."""

from __future__ import annotations

import errno

from kprobesim.dynevent.definition import ProbeArgument
from kprobesim.dynevent.grammar.argument import parse_argument
from kprobesim.dynevent.grammar.c_text import as_bytes
from kprobesim.dynevent.grammar.context import Context
from kprobesim.dynevent.grammar.meta_arguments import expand_dentries, expand_meta_arguments

__all__ = ["parse_arguments"]

_MOST_ARGUMENTS = 128  # MAX_TRACE_ARGS


def parse_arguments(words: list[str], context: Context) -> tuple[ProbeArgument, ...]:
    """The arguments ``words``, which stand behind the place.

    Args:
        words: What was written.
        context: Of the definition.

    Raises:
        ProbeEventError: This kernel refuses one.
    """
    dialect = context.dialect
    if dialect.knows("NOSUP_BTFARG"):
        words = expand_meta_arguments(words, context)
    if len(words) > _MOST_ARGUMENTS:
        if dialect.cuts_arguments:
            del words[_MOST_ARGUMENTS:]
        else:
            raise context.command.refusal("TOO_MANY_ARGS", 2, number=errno.E2BIG)
    if dialect.dentry_types:
        words = expand_dentries(words, context)
    found: list[ProbeArgument] = []
    names: set[str] = set()
    size = 0
    for index, word in enumerate(words):
        context.word = index + 2
        argument = parse_argument(word, index + 1, names, size, context)
        names.add(as_bytes(argument.name))
        size += argument.type.size
        found.append(argument)
    return tuple(found)
