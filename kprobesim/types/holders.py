"""Types that are found by what is in them: the enum of a constant, a struct without a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kprobesim.types.btf import Btf
from kprobesim.types.model import Enum, Struct, Type

__all__ = ["constant_value", "enum_with", "nameless_struct"]


def enum_with(constant: str, types: Sequence[Btf]) -> Enum | None:
    """The first enum that has a value named ``constant``; ``None`` if none has.

    Raises:
        TypesError: A type makes no sense or is cut short.
    """
    for found in _holders(constant, Enum, types):
        if isinstance(found, Enum) and any(v.name == constant for v in found.values):
            return found
    return None


def constant_value(constant: str, types: Sequence[Btf]) -> int | None:
    """The value that some enum has under that name; ``None`` if none has.

    Raises:
        TypesError: A type makes no sense or is cut short.
    """
    enum = enum_with(constant, types)
    return None if enum is None else next(v.value for v in enum.values if v.name == constant)


def nameless_struct(members: Sequence[str], types: Sequence[Btf]) -> Struct | None:
    """The first struct without a name that has just these members; ``None`` if none has.

    Raises:
        TypesError: A type makes no sense or is cut short.
    """
    for found in _holders(members[0], Struct, types):
        if isinstance(found, Struct) and not found.name:
            names = [each.name for each in found.members]
            if names == [*members]:
                return found
    return None


def _holders(name: str, kind: type[Type], types: Sequence[Btf]) -> Iterator[Type]:
    """The types whose records may have ``name``."""
    for btf in types:
        for offset in btf.string_offsets(name):
            records = btf.records(offset)
            holders: Iterable[Type] = btf.of(kind) if records is None else map(btf.around, records)
            yield from holders
