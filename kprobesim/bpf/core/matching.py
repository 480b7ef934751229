"""``bpf_core_type_matches()``: whether a kernel's type has all that the object's own has.

``__bpf_core_types_match()`` of libbpf's relo_core.c. Behind a pointer only names and kinds count.
"""

from __future__ import annotations

from kprobesim.bpf.core.budget import Budget, CannotRelocate
from kprobesim.bpf.core.compatible import argument_types
from kprobesim.bpf.core.names import essential_name
from kprobesim.types.model import (
    Array,
    Composite,
    Enum,
    Forward,
    FunctionPrototype,
    Int,
    Pointer,
    Type,
    Union,
    Void,
)

__all__ = ["types_match"]

_DEEPEST = 32


def types_match(local: Type, target: Type) -> bool:
    """Whether ``target`` has what ``local`` has.

    Raises:
        CannotRelocate: They are nested too deeply.
    """
    return _match(local, target, False, _DEEPEST, Budget())


def _match(local: Type, target: Type, behind: bool, level: int, budget: Budget) -> bool:
    if level <= 0:
        raise CannotRelocate("types are nested too deeply")
    for _ in range(_DEEPEST):
        budget.spend()
        local, target = local.stripped, target.stripped
        if not _names_match(_name(local), _name(target)):
            return False
        if isinstance(local, Forward):
            return _forward(local, target, behind)
        if isinstance(local, Enum):
            return isinstance(target, Enum) and _enums(local, target)
        if isinstance(local, Composite):
            if behind:
                return _kind_behind(local, target)
            return local.kind == target.kind and _members(local, target, level, budget)
        if local.kind != target.kind:
            return False
        if isinstance(local, Int) and isinstance(target, Int):
            return local.size == target.size and local.is_signed == target.is_signed
        if isinstance(local, Pointer) and isinstance(target, Pointer):
            behind, local, target = True, local.target, target.target
        elif isinstance(local, Array) and isinstance(target, Array):
            if local.count != target.count:
                return False
            local, target = local.element, target.element
        elif isinstance(local, FunctionPrototype) and isinstance(target, FunctionPrototype):
            ours, theirs = argument_types(local), argument_types(target)
            if len(ours) != len(theirs):
                return False
            for mine, other in zip(ours, theirs, strict=True):
                if not _match(mine, other, behind, level - 1, budget):
                    return False
            local, target = local.returns, target.returns
        else:
            return isinstance(local, Void)
    raise CannotRelocate("types are nested too deeply")


def _name(kind: Type) -> str:
    return "" if isinstance(kind, Void) else kind.name


def _names_match(local: str, target: str) -> bool:
    if not target:
        return not local
    return essential_name(local) == essential_name(target)


def _forward(local: Forward, target: Type, behind: bool) -> bool:
    if isinstance(target, Forward):
        return local.is_union == target.is_union
    return behind and isinstance(target, Composite) and isinstance(target, Union) == local.is_union


def _kind_behind(local: Composite, target: Type) -> bool:
    if isinstance(target, Forward):
        return isinstance(local, Union) == target.is_union
    return local.kind == target.kind


def _enums(local: Enum, target: Enum) -> bool:
    if local.size != target.size:
        return False
    theirs = {essential_name(value.name) for value in target.values}
    return all(essential_name(value.name) in theirs for value in local.values)


def _members(local: Composite, target: Type, level: int, budget: Budget) -> bool:
    assert isinstance(target, Composite)
    theirs = target.members
    for mine in local.members:
        budget.spend(len(theirs))
        if not any(
            _names_match(mine.name, other.name)
            and _match(mine.type, other.type, False, level - 1, budget)
            for other in theirs
        ):
            return False
    return True
