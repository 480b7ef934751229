"""``DrgnTypes``: the kernel's BTF as a finder of types for drgn, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import drgn

from kprobesim.types.btf import Btf
from kprobesim.types.model import (
    Alias,
    Array,
    Composite,
    Const,
    Enum,
    Float,
    Forward,
    FunctionPrototype,
    Int,
    Member,
    Pointer,
    Restrict,
    Struct,
    Type,
    Typedef,
    Union,
    Volatile,
)
from kprobesim.types.spelling import integer_spellings

if TYPE_CHECKING:
    from drgn import Program

__all__ = ["DrgnTypes"]

_QUALIFIERS: dict[type[Type], Any] = {
    Const: drgn.Qualifiers.CONST,
    Volatile: drgn.Qualifiers.VOLATILE,
    Restrict: drgn.Qualifiers.RESTRICT,
}
#: What is looked for in BTF, by drgn's kind.
_KINDS: dict[Any, tuple[type[Type], ...]] = {
    drgn.TypeKind.INT: (Int,),
    drgn.TypeKind.BOOL: (Int,),
    drgn.TypeKind.FLOAT: (Float,),
    drgn.TypeKind.STRUCT: (Struct,),
    drgn.TypeKind.UNION: (Union,),
    drgn.TypeKind.ENUM: (Enum,),
    drgn.TypeKind.TYPEDEF: (Typedef,),
}


class DrgnTypes:
    """Types of ``prog`` that are made of those that ``types()`` gives, the kernel's first."""

    def __init__(self, prog: Program, types: Callable[[], Sequence[Btf]]) -> None:
        self._prog = prog
        self._types = types
        self._made: dict[tuple[Btf, int], Any] = {}
        self._makers: dict[type[Type], Callable[[Any], Any]] = {
            Int: self._integer,
            Float: lambda each: prog.float_type(each.name, each.size),
            Pointer: lambda each: prog.pointer_type(self.of(each.target), each.size),
            Array: self._array,
            Struct: self._composite,
            Union: self._composite,
            Forward: self._forward,
            Enum: self._enum,
            Typedef: lambda each: prog.typedef_type(each.name, self.of(each.target)),
            FunctionPrototype: self._function,
        }

    def find(self, _prog: Program, kinds: Any, name: str, _filename: str | None) -> Any:
        """drgn's question for a type; BTF knows of no files."""
        for kind, classes in _KINDS.items():
            if kind in kinds:
                for spelled in integer_spellings(name) or (name,):
                    found = self._named(spelled, classes, kind)
                    if found is not None:
                        return self.of(found)
        return None

    def _named(self, name: str, classes: tuple[type[Type], ...], kind: Any) -> Type | None:
        for btf in self._types():
            for found in btf.named(name, *classes):
                if isinstance(found, Int) and found.is_bool != (kind == drgn.TypeKind.BOOL):
                    continue
                return found
        return None

    def of(self, type: Type) -> Any:
        """The ``drgn.Type`` that is the same."""
        key = type.btf, type.number
        made = self._made.get(key) if type.number >= 0 else None
        if made is None:
            made = self._make(type)
            if type.number >= 0:
                self._made[key] = made
        return made

    def _make(self, type: Type) -> Any:
        qualifiers = drgn.Qualifiers.NONE
        here = type
        while isinstance(here, Alias) and not isinstance(here, Typedef):  # and tags, which it lacks
            qualifiers |= _QUALIFIERS.get(here.__class__, drgn.Qualifiers.NONE)
            here = here.target
        if here is not type:
            return self.of(here).qualified(qualifiers | self.of(here).qualifiers)
        for kind, maker in self._makers.items():
            if isinstance(type, kind):
                return maker(type)
        return self._prog.void_type()

    def _integer(self, type: Int) -> Any:
        if type.is_bool:
            return self._prog.bool_type(type.name, type.size)
        return self._prog.int_type(type.name, type.size, type.is_signed)

    def _array(self, type: Array) -> Any:
        if not type.count:  # a flexible one
            return self._prog.array_type(self.of(type.element))
        return self._prog.array_type(self.of(type.element), type.count)

    def _composite(self, type: Composite) -> Any:
        make = self._prog.union_type if isinstance(type, Union) else self._prog.struct_type
        members = [
            drgn.TypeMember(partial(self._member, each), each.name or None, each.bit_offset)
            for each in type.members
        ]
        return make(type.name or None, type.size, members)

    def _member(self, member: Member) -> Any:
        if member.bit_size:
            made = self.of(member.type)
            return drgn.Object(self._prog, made, bit_field_size=member.bit_size)
        return self.of(member.type)

    def _forward(self, type: Forward) -> Any:
        make = self._prog.union_type if type.is_union else self._prog.struct_type
        return make(type.name or None)

    def _enum(self, type: Enum) -> Any:
        if not type.values:
            return self._prog.enum_type(type.name or None)
        spelled = {1: "char", 2: "short", 4: "int", 8: "long"}[type.size or 4]
        is_signed = type.is_signed or any(value < 0 for _, value in type.values)
        name = spelled if is_signed else f"unsigned {spelled}"
        whole = self._prog.int_type(name, type.size, is_signed)
        values = [drgn.TypeEnumerator(name, value) for name, value in type.values]
        return self._prog.enum_type(type.name or None, whole, values)

    def _function(self, type: FunctionPrototype) -> Any:
        parameters = [
            drgn.TypeParameter(partial(self.of, each.type), each.name or None)
            for each in type.parameters
        ]
        return self._prog.function_type(self.of(type.returns), parameters, type.is_variadic)
