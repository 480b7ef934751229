"""The number that each kind of relocation stands for, once it is known what it is about.

``bpf_core_calc_field_relo()``, ``_type_relo()`` and ``_enumval_relo()`` of libbpf's relo_core.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from kprobesim.bpf.core.budget import CannotRelocate
from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.spec import Spec, size_of
from kprobesim.sizes import MASK32, MASK64
from kprobesim.types.model import Array, Composite, Enum, Int, Pointer, Type

__all__ = ["Value", "adjusts_safely", "value_of"]

_WIDEST = 8  # bytes that one load reads


@dataclass(frozen=True)
class Value:
    """``number`` as 64 bits without a sign.

    ``validate`` says that the compiler must have written just this number. ``type``, of ``size``
    bytes, is what a load or store at an offset moves, if that may be changed.
    """

    number: int
    validate: bool = True
    type: Type | None = None
    size: int = 0


def value_of(kind: CoreKind, spec: Spec) -> Value:
    """What an instruction with such a relocation is to hold.

    Raises:
        CannotRelocate: There is no such number.
    """
    if kind.is_question:
        return Value(1)
    if kind is CoreKind.TYPE_SIZE:
        return Value(size_of(spec.root))
    if kind in (CoreKind.TYPE_ID_LOCAL, CoreKind.TYPE_ID_TARGET):
        return Value(spec.root.number, validate=False)
    if kind is CoreKind.ENUM_VALUE:
        enum = spec.accessors[0].type
        assert isinstance(enum, Enum)
        number = enum.values[spec.accessors[0].index].value
        # libbpf keeps values of 32 bits with a sign, whatever the enum says.
        return Value(_extended(number) if enum.kind == "enum" else number & MASK64)
    if spec.accessors[-1].name is None:
        return _of_element(kind, spec)
    return _of_member(kind, spec)


def adjusts_safely(local: Value, target: Value) -> bool:
    """Whether a load may move as many bytes as the kernel's field has, not as many as ours."""
    ours, theirs = local.type, target.type
    if local.size == target.size or ours is None or theirs is None:
        return local.size == target.size
    if isinstance(ours, Pointer) and isinstance(theirs, Pointer):
        return True
    return (
        isinstance(ours, Int)
        and isinstance(theirs, Int)
        and not _only_signed(ours)
        and not _only_signed(theirs)
    )


def _only_signed(kind: Int) -> bool:
    return kind.is_signed and not kind.is_bool and not kind.is_char


def _extended(number: int) -> int:
    """32 bits with a sign, as 64."""
    return ((number & MASK32 ^ 1 << 31) - (1 << 31)) & MASK64


def _of_element(kind: CoreKind, spec: Spec) -> Value:
    element = spec.accessors[-1].type
    if kind is CoreKind.BYTE_OFFSET:
        return Value(spec.bit_offset // 8, type=element, size=size_of(_innermost(element)))
    if kind is CoreKind.BYTE_SIZE:
        return Value(size_of(element))
    raise CannotRelocate(f"{kind.text} of an element of an array")


def _of_member(kind: CoreKind, spec: Spec) -> Value:
    accessor = spec.accessors[-1]
    assert isinstance(accessor.type, Composite)
    member = accessor.type.members[accessor.index]
    mine = member.type.stripped
    bits, is_bit_field = member.bit_size, member.bit_size > 0
    if is_bit_field:
        offset, size = _around(spec.bit_offset, bits, size_of(mine))
    else:
        size = size_of(mine)
        offset, bits = spec.bit_offset // 8, size * 8
    exact = not is_bit_field
    if kind is CoreKind.BYTE_OFFSET:
        if is_bit_field:
            return Value(offset, validate=False)
        return Value(offset, type=mine, size=size_of(_innermost(mine)))
    if kind is CoreKind.BYTE_SIZE:
        return Value(size, validate=exact)
    if kind is CoreKind.SIGNED:
        signed = isinstance(mine, (Int, Enum)) and mine.is_signed
        return Value(int(signed))
    if kind is CoreKind.LSHIFT_U64:
        shift = 64 - (spec.bit_offset + bits - offset * 8)
        return Value(shift & MASK32, validate=exact)
    if kind is CoreKind.RSHIFT_U64:
        return Value(64 - bits & MASK32)
    raise CannotRelocate(f"relocation of unknown kind {kind}")


def _around(bit_offset: int, bits: int, size: int) -> tuple[int, int]:
    """Where the smallest integer lies that holds a bit field, and its size, in bytes."""
    if not size:
        raise CannotRelocate("a bit field of a type without a size")
    while True:
        offset = bit_offset // 8 // size * size
        if bit_offset + bits - offset * 8 <= size * 8:
            return offset, size
        if size >= _WIDEST:
            raise CannotRelocate("a bit field that no load of 8 bytes reads")
        size *= 2


def _innermost(kind: Type) -> Type:
    """The element of arrays of arrays; loads move those."""
    size_of(kind)  # which knows arrays of themselves
    here = kind.stripped
    while isinstance(here, Array):
        here = here.element.stripped
    return here
