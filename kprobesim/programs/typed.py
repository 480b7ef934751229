"""``TypedExpression``: an argument with its type in a program, whose members are values.

>>> file = k.arg("vfs_read", "file")
>>> k.count("vfs_read", key=file.f_path.dentry.d_name.name.string)

Where members lie is looked up now, by the kernel's BTF; at a hit each pointer on the way is one
load from memory, compiled as any other.
"""

from __future__ import annotations

from typing import Any

from kprobesim.errors import MemberError, UsageError
from kprobesim.programs.types import SIZES, U64
from kprobesim.programs.types import Int as Width
from kprobesim.programs.values import Load, Text, Value
from kprobesim.types.c_text import declaration
from kprobesim.types.model import Array, Composite, Enum, Int, Member, Pointer, Type

__all__ = ["TypedExpression", "as_typed"]

_WIDTHS = (8, 16, 32, 64)


class TypedExpression:
    """A pointer, or an object in memory; numbers that are its members are plain values.

    ``.member`` and ``["member"]`` as on a :class:`TypedValue`, ``[3]`` an element, ``.string`` what
    it points to, or what an array of characters holds.

    Attributes:
        type_: What it is.
        value_: The pointer, or the address of the object.
    """

    __slots__ = ("_base", "_offset", "type_")

    def __init__(self, base: Value, type: Type, offset: int = 0) -> None:
        """The pointer ``base``; of an object, what lies so far behind it."""
        self._base = base
        self._offset = offset
        self.type_ = type

    def __repr__(self) -> str:
        return f"<{declaration(self.type_)}: {self.value_}>"

    @property
    def value_(self) -> Value:
        """The pointer or the address."""
        return self._base + self._offset if self._offset else self._base

    @property
    def string(self) -> Text:
        """The string that it points to or is, up to 64 bytes: ``.upto(4096)``."""
        return self.value_.string

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for those that a class may lack
            raise MemberError("typed expression", name)
        return self.member_(name)

    def member_(self, name: str) -> Any:
        """The member ``name`` of the struct, or of the one that the pointer leads to.

        Returns:
            A :class:`Value` where it is a number, else a :class:`TypedExpression`.

        Raises:
            MemberError: There is none.
        """
        stripped = self.type_.stripped
        here = stripped.target.stripped if isinstance(stripped, Pointer) else stripped
        found = here.find(name) if isinstance(here, Composite) else None
        if found is None:
            names = [each.name for each in here.flat()] if isinstance(here, Composite) else []
            raise MemberError(declaration(self.type_), name, names)
        start = self._offset + found.offset
        if found.bit_size:
            return _bit_field(self._base, start, found)
        return as_typed(self._base, found.type, start)

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.member_(key)
        stripped = self.type_.stripped
        if isinstance(stripped, Pointer):
            element = stripped.target
        elif isinstance(stripped, Array):
            element = stripped.element
        else:
            raise UsageError(f"a {declaration(self.type_)} has no elements")
        return as_typed(self._base, element, self._offset + key * (element.size or 1))


def as_typed(base: Value, type: Type, offset: int = 0) -> Value | TypedExpression:
    """What lies ``offset`` bytes behind ``base``: a number is a value, all else an expression.

    Raises:
        UsageError: It is of a type that programs do not know.
    """
    stripped = type.stripped
    if isinstance(stripped, Pointer):
        return TypedExpression(Load(base, offset, U64), type)
    if isinstance(stripped, (Composite, Array)):
        return TypedExpression(base, type, offset)
    return Load(base, offset, width_of(type))


def width_of(type: Type) -> Width:
    """What a program takes a number of that type for.

    Raises:
        UsageError: It is none of 8, 16, 32 or 64 bits.
    """
    stripped = type.stripped
    bits = 8 * (stripped.size or 0)
    if not isinstance(stripped, (Int, Enum)) or bits not in _WIDTHS:
        raise UsageError(f"a {declaration(type)} is no integer that a program can hold")
    return SIZES[f"{'us'[stripped.is_signed]}{bits}"]


def _bit_field(base: Value, start: int, member: Member) -> Any:
    first = member.bit_offset & 7
    bits = next((bits for bits in _WIDTHS if bits >= first + member.bit_size), None)
    if bits is None:
        raise UsageError(f"the bit field {member.name} does not fit into 64 bits")
    word = Load(base, start, SIZES[f"u{bits}"])
    if width_of(member.type).signed:
        return (word << 64 - first - member.bit_size).s64 >> 64 - member.bit_size
    return word >> first & (1 << member.bit_size) - 1
