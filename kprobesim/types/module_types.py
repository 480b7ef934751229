"""The types of a module: what it has beyond its kernel's (split BTF).

A module that was built apart from its kernel, since Linux 6.11, brings in ``.BTF.base`` what it
uses of the kernel's types: integers whole, structs and enums by name and size. The numbers in its
``.BTF`` are then of that base, and must become those of the kernel that it is loaded into
(tools/lib/bpf/btf_relocate.c).
"""

from __future__ import annotations

from kprobesim.errors import TypesError
from kprobesim.types.btf import Btf
from kprobesim.types.header import HEADER
from kprobesim.types.model import (
    Enum,
    Float,
    Forward,
    Int,
    Struct,
    Type,
    Union,
)

__all__ = ["module_types"]

# Words of a record that hold numbers of types, by its kind: in itself, and in each element.
_REFERS = frozenset((2, 8, 9, 10, 11, 12, 13, 14, 17, 18))
_ELEMENT_REFERS = {4: 1, 5: 1, 13: 1, 15: 0}
_ELEMENT_WORDS = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
_ARRAY = 3
_UNNAMED_ELEMENTS = frozenset((15,))


def module_types(data: bytes, distilled: bytes | None, kernel: Btf, source: str) -> Btf:
    """The types in a module's ``.BTF``, which go on from those of ``kernel``.

    Args:
        data: The section ``.BTF``.
        distilled: The section ``.BTF.base``, if the module has one.
        kernel: The types of the kernel that it is loaded into.
        source: The module's name, for errors.

    Raises:
        TypesError: It is damaged, or needs a type that the kernel has not.
    """
    if distilled is None:
        return Btf(data, kernel, source)
    base = Btf(distilled, source=source)
    return _moved(Btf(data, base, source), base, kernel)


def _moved(split: Btf, base: Btf, kernel: Btf) -> Btf:
    """The types ``split``, which go on from ``base``, going on from ``kernel`` instead."""
    numbers = {each.number: _counterpart(each, kernel, split.source) for each in base}
    numbers[0] = 0
    ahead = len(kernel) - len(base)
    words = bytearray(split.words)
    view = memoryview(words).cast("I")

    def move_number(at: int) -> None:
        number = view[at]
        view[at] = numbers[number] if number in numbers else number + ahead

    def move_name(at: int) -> None:
        if view[at]:  # the base's strings come with the module's, behind the kernel's
            view[at] += kernel.strings_end

    for each in split:
        at, kind = each.at, view[each.at + 1] >> 24 & 0x7F
        count = view[at + 1] & 0xFF_FFFF
        move_name(at)
        if kind in _REFERS:
            move_number(at + 2)
        if kind == _ARRAY:
            move_number(at + 3)
            move_number(at + 4)
        size = _ELEMENT_WORDS.get(kind, 0)
        for element in range(at + 3, at + 3 + count * size, size or 1):
            if kind not in _UNNAMED_ELEMENTS:
                move_name(element)
            if kind in _ELEMENT_REFERS:
                move_number(element + _ELEMENT_REFERS[kind])
    strings = base.pool + split.pool
    header = HEADER.pack(0xEB9F, 1, 0, HEADER.size, 0, len(words), len(words), len(strings))
    return Btf(header + bytes(words) + strings, kernel, split.source)


def _counterpart(wanted: Type, kernel: Btf, source: str) -> int:
    """The number in ``kernel`` of what ``wanted`` is a distillate of."""
    kinds: tuple[type[Type], ...]
    if isinstance(wanted, Forward):
        kinds = (Union if wanted.is_union else Struct, Forward)
    elif isinstance(wanted, (Struct, Union, Enum, Int, Float)):
        kinds = (Enum,) if isinstance(wanted, Enum) else (type(wanted),)
    else:
        raise TypesError(source, f"its .BTF.base is damaged: it holds {wanted!r}")
    for found in kernel.named(wanted.name):
        if isinstance(found, kinds) and (isinstance(wanted, Forward) or found.size == wanted.size):
            return found.number
    raise TypesError(
        source,
        f"was built for another kernel: this one has no {wanted.kind} {wanted.name} of "
        f"{wanted.size} bytes",
    )
