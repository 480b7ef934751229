"""Words that stand for others: ``$arg*``, ``$arg1`` where BTF has its name, ``ARG:%pd``.

``traceprobe_expand_meta_args()`` (6.4) and ``traceprobe_expand_dentry_args()`` (6.9) of
kernel/trace/trace_probe.c.
"""

from __future__ import annotations

import errno
import re

from kprobesim.dynevent.grammar.c_text import simple_strtoul
from kprobesim.dynevent.grammar.context import Context
from kprobesim.dynevent.grammar.members import find_structure
from kprobesim.errors import TypesError
from kprobesim.types.base import RECORD
from kprobesim.types.functions import FunctionPrototype

__all__ = ["expand_dentries", "expand_meta_arguments"]

_ROOM = 128  # MAX_BTF_ARGS_LEN
_DENTRY_ROOM = 256  # MAX_DENTRY_ARGS_LEN
_DENTRY = re.compile(r"(?s)(.*):%p([dD])")


def expand_meta_arguments(words: list[str], context: Context) -> list[str]:
    """The arguments ``words`` with names in the place of ``$arg*`` and ``$argN``.

    Raises:
        ProbeEventError: This kernel refuses one.
    """
    star, found = _find(words, context)
    if not found or context.kernel.types is None:
        return words
    if not context.parameters:
        if star is not None:
            raise context.error("NOSUP_BTFARG", number=errno.EOPNOTSUPP)
        return words
    expanded: list[str] = []
    room = _ROOM
    for index, word in enumerate(words):
        context.word = index + 2
        names: list[str] = []
        if index == star:
            names = [_nth(number, "", room, context) for number in range(len(context.parameters))]
        elif word.startswith("$arg"):
            names = [_by_number(word, room, context)]
        else:
            expanded.append(word)
        for name in names:
            if len(name) >= room:
                raise context.error("ARGS_2LONG", number=errno.E2BIG)
            room -= len(name) + 1
            expanded.append(name)
    return expanded


def _find(words: list[str], context: Context) -> tuple[int | None, bool]:
    """The index of ``$arg*``, and whether any word starts with ``$arg``."""
    star, found = None, False
    context.offset = 0
    for index, word in enumerate(words):
        if not word.startswith("$arg"):
            continue
        context.word = index + 2
        usable = context.at_entry or (context.returns and context.dialect.return_arguments)
        if not usable:
            raise context.error("NOFENTRY_ARGS")
        found = True
        if re.match("[0-9]", word[4:]):
            continue
        if not word.startswith("$arg*"):
            raise context.error("BAD_VAR")
        if star is not None:
            raise context.error("DOUBLE_ARGS")
        star = index
    return star, found


def _by_number(word: str, room: int, context: Context) -> str:
    number, type = simple_strtoul(word[4:], 10, saturates=context.dialect.saturates)
    number = (number & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
    if type and not type.startswith(":"):
        raise context.error("BAD_VAR", number=errno.ENOENT)
    if not number and context.dialect.refuses_argument_0:
        raise context.error("BAD_ARG_NUM")
    return _nth(number - 1, type, room, context)


def _nth(index: int, type: str, room: int, context: Context) -> str:
    if index >= len(context.parameters):
        raise context.error("NO_BTFARG", number=errno.ENOENT)
    if index >= 0:
        return context.parameters[index][0] + type
    name = _word_before(context.query(), index)
    if name is None:
        raise context.error("NO_BTF_ENTRY", number=errno.ENOENT)
    return name + type


def _word_before(prototype: FunctionPrototype | None, index: int) -> str | None:
    """What the kernel takes for the name of a parameter before the first one, which it looks for.

    There is the prototype itself, and the types before it.
    """
    if prototype is None:
        return None
    types = prototype.btf
    at = prototype.at + RECORD + 2 * index
    if at < 0:
        return None
    try:
        return types.string(types.words[at])
    except TypesError:
        return None


def expand_dentries(words: list[str], context: Context) -> list[str]:
    """The arguments ``words``, with what reads a name for ``ARG:%pd`` and ``ARG:%pD``.

    Of those that were written, errors show what they have become.

    Raises:
        ProbeEventError: They become too long.
    """
    expanded = []
    room = _DENTRY_ROOM
    for word in words:
        found = _DENTRY.fullmatch(word)
        if found is None:
            expanded.append(word)
            continue
        name, equals, body = found[1].partition("=")
        if not equals:
            body = name
        inner = body if found[2] == "d" else f"+{_offset('file', 'f_path.dentry', context)}({body})"
        text = f"+0x0(+{_offset('dentry', 'd_name.name', context)}({inner})):string"
        text = f"{name}={text}" if equals else text
        if len(text) >= room:
            raise context.command.silent(errno.ENOMEM)
        room -= len(text) + 1
        expanded.append(text)
    if tuple(words) == context.command.words[2:]:
        context.command.words = (*context.command.words[:2], *expanded)
    return expanded


def _offset(structure: str, member: str, context: Context) -> str:
    if context.kernel.types is None:
        return "0"
    found = find_structure(structure, context)
    inside = None if found is None else found.inside(member)
    if inside is None:
        raise context.command.silent(errno.ENOMEM)  # nobody here knows it, though the kernel does
    return f"{inside.offset:#x}"
