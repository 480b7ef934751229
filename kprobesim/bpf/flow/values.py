"""What is known of a register or a place on the stack: the lattice of the walk.

``None`` is what nothing is known of; two different values meet in it.
"""

from __future__ import annotations

from typing import NamedTuple

from kprobesim.types.model import Type

__all__ = [
    "Address",
    "Argument",
    "Constant",
    "Context",
    "ReadOnly",
    "Setting",
    "Stack",
    "Value",
    "meet",
    "moved",
]


class Constant(NamedTuple):
    """A number, as 64 bits without a sign.

    ``field_of`` is the object's type whose member lies there, if a relocation gave the number.
    """

    number: int
    field_of: Type | None = None


class Context(NamedTuple):
    """A pointer into what the program is called with (``ctx``)."""

    offset: int


class Stack(NamedTuple):
    """A pointer into the stack of this function, from its top on."""

    offset: int


class Argument(NamedTuple):
    """What was read at ``slot`` of the context, plus a number."""

    slot: int
    offset: int


class Setting(NamedTuple):
    """A pointer to a setting of the kernel's, ``__kconfig``."""

    name: str
    offset: int


class ReadOnly(NamedTuple):
    """A pointer into a section of constants, which whoever loads the object may set before."""

    section: int
    offset: int


class Address(NamedTuple):
    """Something that is not 0."""

    what: str = ""


Value = Constant | Context | Stack | Argument | Setting | ReadOnly | Address | None
_POINTERS = (Context, Stack, Argument, Setting, ReadOnly)


def meet(one: Value, other: Value) -> Value:
    """What holds if either may be."""
    if one == other and type(one) is type(other):
        return one
    if isinstance(one, Constant) and isinstance(other, Constant) and one.number == other.number:
        return Constant(one.number)
    return None


def moved(value: Value, by: int) -> Value:
    """A pointer moved by so many bytes."""
    if isinstance(value, _POINTERS):
        return value._replace(offset=value.offset + by)
    return value if isinstance(value, Address) else None


def is_not_zero(value: Value) -> bool:
    """Whether it is certainly not 0. What was read of the context may be."""
    return value is not None and not isinstance(value, (Constant, Argument))
