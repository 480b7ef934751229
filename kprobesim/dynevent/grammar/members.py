"""Arguments by name and their members, as BTF has them: ``file->f_path.dentry``.

``parse_btf_arg()`` and ``parse_btf_field()`` of kernel/trace/trace_probe.c, and
``btf_find_struct_member()`` of kernel/trace/trace_btf.c.
"""

from __future__ import annotations

import errno
import re

from kprobesim.dynevent.fetch import Argument, Cast, CurrentTask, Fetch, Retval, Variable
from kprobesim.dynevent.grammar.context import Context, Member, Reading
from kprobesim.types.base import Pointer, Type
from kprobesim.types.btf import Btf
from kprobesim.types.composites import Composite, Struct
from kprobesim.types.composites import Member as TypeMember

__all__ = [
    "bit_offset_of_field",
    "find_structure",
    "parse_fields",
    "parse_variable",
    "unresolved_cast",
]

_MOST_ANONYMOUS = 16  # BTF_ANON_STACK_MAX


def split_field(text: str, context: Context) -> tuple[str, str | None, bool]:
    """What stands before the first ``.`` or ``->``, what behind it, and whether it is ``->``.

    Raises:
        ProbeEventError: There is a hyphen alone.
    """
    found = re.search(r"[.-]", text)
    if found is None:
        return text, None, False
    at = found.start()
    if text.startswith("->", at):
        return text[:at], text[at + 2 :], True
    if text[at] == ".":
        return text[:at], text[at + 1 :], False
    raise context.error("BAD_HYPHEN", at)


def parse_variable(text: str, context: Context) -> Reading:
    """``NAME``, ``$retval`` or ``$current``, with members or without.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    if not context.dialect.btf:
        raise context.error("NOSUP_BTFARG", number=errno.EOPNOTSUPP)
    current = text.startswith("$current")
    if context.function is None and not current:
        raise context.command.silent()
    name, field, arrow = split_field(text, context)
    behind = len(text) - len(field or "")
    if field is not None and not arrow:
        raise context.error("NOSUP_DAT_ARG", behind, errno.EOPNOTSUPP)
    if context.kernel.types is None:
        context.offset += behind
        members, pointers = _split_fields(field, context)
        return Reading(Variable(name, members), pointers)
    if name == "$current":
        task = find_structure("task_struct", context)
        if task is None:
            raise context.error("NO_BTF_ENTRY", number=errno.ENOENT)
        return _with_fields(CurrentTask(), task, field, behind, context, structure=True)
    if context.returns and (name == "$retval" or not context.dialect.return_arguments):
        return _parse_retval(name, field, behind, context)
    fetch, type = _parse_parameter(name, context)
    return _with_fields(fetch, type, field, behind, context)


def unresolved_cast(reading: Reading, structure: str, fields: str, context: Context) -> Reading:
    """A cast where no types are known: its members stay names.

    Args:
        reading: What is cast.
        structure: To a pointer to this.
        fields: The members behind it.
        context: Where the parser stands: at ``fields``.

    Raises:
        ProbeEventError: There is a hyphen alone.
    """
    members, pointers = _split_fields(fields, context)
    return Reading(Cast(reading.fetch, structure, members), reading.slot + pointers)


def _split_fields(text: str | None, context: Context) -> tuple[tuple[str, ...], int]:
    """The names of the members, and through how many pointers they are read."""
    members: list[str] = []
    pointers = int(text is not None)
    while text is not None:
        name, behind, arrow = split_field(text, context)
        context.offset += len(text) - len(behind or "")
        members.append(name)
        pointers += arrow
        text = behind
    return tuple(members), pointers


def _parse_retval(name: str, field: str | None, behind: int, context: Context) -> Reading:
    if name != "$retval":
        raise context.error("NO_BTFARG", number=errno.ENOENT)
    prototype = context.query()
    if prototype is None:
        if field is not None:
            raise context.error("NO_BTF_ENTRY", behind, errno.ENOENT)
        return Reading(Retval())
    returned = prototype.returns
    if returned.number == 0:
        raise context.error("NO_RETVAL", number=errno.ENOENT)
    return _with_fields(Retval(), returned.stripped, field, behind, context)


def _parse_parameter(name: str, context: Context) -> tuple[Fetch, Type]:
    again = context.queried
    prototype = context.query()
    if prototype is None or not (again or context.parameters):  # the kernel looks only once
        raise context.error("NO_BTF_ENTRY", number=errno.ENOENT)
    for index, (known, number) in enumerate(context.parameters, 1):
        if known == name:
            return Argument(index), prototype.btf.type(number).stripped
    raise context.error("NO_BTFARG", number=errno.ENOENT)


def _with_fields(
    fetch: Fetch,
    type: Type,
    field: str | None,
    behind: int,
    context: Context,
    *,
    structure: bool = False,
) -> Reading:
    context.member = Member(type)
    if field is None:
        return Reading(fetch)
    context.offset += behind
    return parse_fields(field, type, Reading(fetch), context, structure=structure)


def parse_fields(
    text: str,
    type: Type,
    reading: Reading,
    context: Context,
    *,
    structure: bool = False,
    before: int = 0,
) -> Reading:
    """The members ``a->b.c`` of what was read.

    Args:
        text: Their names.
        type: What was read: a pointer to what has members; or
        structure: that itself.
        reading: What was read.
        context: Where the parser stands: at ``text``.
        before: Bytes before what the pointer points to, where the structure begins.

    Raises:
        ProbeEventError: This kernel refuses it.
    """
    left: str | None = text
    while left is not None:
        if not structure:
            if not isinstance(type, Pointer):
                raise context.error("NO_PTR_STRCT")
            type = type.target.stripped
        bits, type, left, size = bit_offset_of_field(left, type, context)
        reading = context.dereference(reading, bits // 8 - before)
        context.member = Member(type, bits % 8, size)
        structure, before = False, 0
    return reading


def bit_offset_of_field(
    text: str, type: Type, context: Context
) -> tuple[int, Type, str | None, int]:
    """The members up to the next ``->``.

    Returns:
        The offset in bits, the last member's type, what follows the ``->`` (``None``: nothing),
        and the member's width if it is a bit field.

    Raises:
        ProbeEventError: There is no such member.
    """
    offset = 0
    left: str | None = text
    arrow = False
    size = 0
    while left is not None and not arrow:
        name, behind, arrow = split_field(left, context)
        found = _find_member(type, name, context)
        offset += found.bit_offset
        size = found.bit_size
        type = found.type.stripped
        if behind is not None:
            context.offset += len(left) - len(behind)
        left = behind
    return offset, type, left, size


def _find_member(type: Type, name: str, context: Context) -> TypeMember:
    """Of anonymous members the last is looked into first, when no other has the name."""
    pending: list[tuple[Type, int]] = [(type, 0)]
    while pending:
        here, start = pending.pop()
        if not isinstance(here, Composite):
            raise context.error("BAD_BTF_TID")
        for member in here.members:
            if member.name == name and name:
                return member._replace(bit_offset=start + member.bit_offset)
            if not member.name and len(pending) < _MOST_ANONYMOUS:
                pending.append((member.type.stripped, start + member.bit_offset))
    raise context.error("NO_BTF_FIELD", number=errno.ENOENT)


def find_structure(name: str, context: Context) -> Struct | None:
    """``bpf_find_btf_id()``: the struct of that name, of the kernel or of a module."""
    types: Btf
    for types in context.kernel.types or ():
        found = types.named(name, Struct)
        if found:
            return found[0]
    return None
