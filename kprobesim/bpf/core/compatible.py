"""When two types are compatible: for reading a field, for a whole type, and for an exact match.

Three relations of libbpf's relo_core.c, each with rules of its own: ``bpf_core_fields_are_compat``,
``__bpf_core_types_are_compat`` and (in :mod:`kprobesim.bpf.core.matching`) ``_types_match``.
"""

from __future__ import annotations

from kprobesim.bpf.core.budget import Budget, CannotRelocate
from kprobesim.bpf.core.names import essential_name
from kprobesim.types.model import (
    Array,
    Composite,
    Enum,
    Float,
    Forward,
    FunctionPrototype,
    Int,
    Pointer,
    Type,
    Unknown,
    Void,
)

__all__ = ["fields_are_compatible", "same_kind", "types_are_compatible"]

_DEEPEST = 32


def same_kind(one: Type, other: Type) -> bool:
    """Whether they are of one kind; all enums are."""
    return one.kind == other.kind or (isinstance(one, Enum) and isinstance(other, Enum))


def fields_are_compatible(local: Type, target: Type) -> bool:
    """Whether a field of type ``local`` may be read where the kernel has one of type ``target``."""
    for _ in range(_DEEPEST):
        local, target = local.stripped, target.stripped
        if isinstance(local, Composite) and isinstance(target, Composite):
            return True
        if not same_kind(local, target):
            return False
        if isinstance(local, (Pointer, Float)):
            return True
        if isinstance(local, (Forward, Enum)):
            ours, theirs = essential_name(local.name), essential_name(target.name)
            return not ours or not theirs or ours == theirs
        if isinstance(local, Int) and isinstance(target, Int):
            return not local.bit_offset and not target.bit_offset
        if not (isinstance(local, Array) and isinstance(target, Array)):
            return False
        local, target = local.element, target.element
    raise CannotRelocate("arrays of arrays without end")


def types_are_compatible(local: Type, target: Type, budget: Budget | None = None) -> bool:
    """Whether ``target`` may stand for ``local``, whose names match.

    Raises:
        CannotRelocate: They are nested too deeply.
    """
    return same_kind(local, target) and _compatible(local, target, budget or Budget(), _DEEPEST)


def _compatible(local: Type, target: Type, budget: Budget, level: int) -> bool:
    for _ in range(_DEEPEST):
        budget.spend()
        local, target = local.stripped, target.stripped
        if not same_kind(local, target):
            return False
        if isinstance(local, (Void, Composite, Enum, Forward, Unknown)):
            return True
        if isinstance(local, Int) and isinstance(target, Int):
            return not local.bit_offset and not target.bit_offset
        if isinstance(local, Pointer) and isinstance(target, Pointer):
            local, target = local.target, target.target
        elif isinstance(local, Array) and isinstance(target, Array):
            local, target = local.element, target.element
        elif isinstance(local, FunctionPrototype) and isinstance(target, FunctionPrototype):
            ours, theirs = argument_types(local), argument_types(target)
            if len(ours) != len(theirs):
                return False
            for mine, other in zip(ours, theirs, strict=True):
                if level <= 0:
                    raise CannotRelocate("functions that take functions, without end")
                if not _compatible(mine, other, budget, level - 1):
                    return False
            local, target = local.returns, target.returns
        else:
            return False
    raise CannotRelocate("types are nested too deeply")


def argument_types(prototype: FunctionPrototype) -> list[Type]:
    """The types of its parameters; of a variadic one, ``void`` for the last, as BTF has it."""
    found = [one.type for one in prototype.parameters]
    if prototype.is_variadic:
        found.append(prototype.btf.type(0))
    return found
