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
    if not found:
        return words
    if not context.parameters:
        if star is not None:
            context.offset = 0
            context.earlier.append(context.error("NOSUP_BTFARG"))
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
    number, type = simple_strtoul(word[4:], 10)
    number = (number & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
    if type and not type.startswith(":"):
        raise context.error("BAD_VAR", number=errno.ENOENT)
    if not number and context.dialect.knows("NEED_STRING_TYPE"):
        raise context.error("BAD_ARG_NUM")
    if number <= 0:  # what lies before the parameters has no name
        raise context.error("NO_BTF_ENTRY", number=errno.ENOENT)
    return _nth(number - 1, type, room, context)


def _nth(index: int, type: str, room: int, context: Context) -> str:
    if index >= len(context.parameters):
        raise context.error("NO_BTFARG", number=errno.ENOENT)
    return context.parameters[index][0] + type


def expand_dentries(words: list[str], context: Context) -> list[str]:
    """The arguments ``words``, with what reads a name for ``ARG:%pd`` and ``ARG:%pD``.

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
    return expanded


def _offset(structure: str, member: str, context: Context) -> str:
    found = find_structure(structure, context)
    inside = None if found is None else found.inside(member)
    if inside is None:
        raise context.command.silent(errno.ENOMEM)  # nobody here knows it, though the kernel does
    return f"{inside.offset:#x}"
