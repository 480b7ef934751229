"""Types of arguments: by name, as bit fields, and by what BTF says of a variable."""

from __future__ import annotations

import errno

from kprobesim.dynevent.dialect import Dialect
from kprobesim.dynevent.fetch_type import FETCH_TYPES, FetchType
from kprobesim.dynevent.grammar.c_text import kstrtoul, simple_strtoul
from kprobesim.dynevent.grammar.context import LAST_SLOT, Context, Member, Reading
from kprobesim.sizes import MASK64
from kprobesim.types.base import Array, Pointer, Type
from kprobesim.types.scalars import Enum, Enum64, Int

__all__ = ["find_type", "parse_bitfield", "type_of", "with_string_pointer"]

_DEFAULT = "x64"
_CONTAINERS = {8: "u8", 16: "u16", 32: "u32", 64: "u64"}


def find_type(name: str | None, dialect: Dialect) -> FetchType | None:
    """The type that is written so; ``None``: there is none."""
    if name is None:
        name = _DEFAULT
    if name.startswith("b"):
        _, slash, size = name.partition("/")
        number, bits = kstrtoul(size) if slash else (errno.EINVAL, 0)
        return FETCH_TYPES.get(_CONTAINERS.get(bits, "")) if not number else None
    if name == "char" and not dialect.char_type:
        return None
    if name == "symstr" and not dialect.knows("BAD_SYMSTRING"):
        return None
    return FETCH_TYPES.get(name)


def parse_bitfield(name: str, bits: int, slot: int, *, saturates: bool) -> tuple[int, int] | None:
    """Width and offset of ``bWIDTH@OFFSET/SIZE``: (0, 0) for another type, ``None`` for a bad one.

    Args:
        name: The type as it was written.
        bits: The size of what it lies in.
        slot: The last slot that the argument takes.
        saturates: How the kernel reads numbers that are too large.
    """
    if not name.startswith("b"):
        return 0, 0
    width, rest = simple_strtoul(name[1:], saturates=saturates)
    if not width or not rest.startswith("@"):
        return None
    offset, behind = simple_strtoul(rest[1:], saturates=saturates)
    if behind == rest[1:] or not behind.startswith("/") or slot + 1 >= LAST_SLOT:
        return None
    return (width, offset) if width + offset & MASK64 <= bits else None


def type_of(member: Member) -> FetchType:
    """How a variable or member is stored that was given no type: fetch_type_from_btf_type()."""
    type = member.type
    if isinstance(type, Enum):
        return FETCH_TYPES["s64" if isinstance(type, Enum64) else "s32"]
    if isinstance(type, Int):
        sign = "s" if type.is_signed else "u"
        found = FETCH_TYPES.get(f"{sign}{type.bits}")
        if found is not None:
            return found
        if not type.is_signed:  # a bit field as they were encoded before Linux 5.0
            member.bit_size = type.bits
            member.bit_offset += type.bit_offset
            return FETCH_TYPES["u64"]
    return FETCH_TYPES[_DEFAULT]


def with_string_pointer(name: str, reading: Reading, context: Context) -> Reading:
    """What is read for a string: ``char *`` is dereferenced, ``char []`` is one already.

    check_prepare_btf_string_fetch(), where ``char`` is one without a sign, as kernels have it.

    Raises:
        ProbeEventError: It is no string.
    """
    assert context.member is not None
    type = context.member.type
    if isinstance(type, Array) and _is_char(type.element.stripped):
        return reading
    # Of what is no pointer the kernel takes the size for the number of a type.
    target = type.target if isinstance(type, Pointer) else type.btf.get(type.size or 0)
    if target is not None and _is_char(target.stripped):
        if reading.slot + 1 == LAST_SLOT:
            raise context.error("TOO_MANY_OPS", number=errno.E2BIG)
        return context.dereference(reading, 0, user=name.startswith("u"))
    raise context.error("BAD_TYPE4STR")


def _is_char(type: Type) -> bool:
    return isinstance(type, Int) and not type.is_signed and type.bits == 8
