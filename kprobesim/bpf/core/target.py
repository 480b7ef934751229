"""``Target``: the types of one kernel, in which what an object's types call for is looked up.

``bpf_core_find_cands()`` of libbpf.c finds candidates, ``bpf_core_spec_match()`` of relo_core.c
follows the way in each of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from kprobesim.bpf.core.budget import Budget, CannotRelocate
from kprobesim.bpf.core.compatible import fields_are_compatible, same_kind, types_are_compatible
from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.matching import types_match
from kprobesim.bpf.core.names import essential_name
from kprobesim.bpf.core.nearest import nearest_members
from kprobesim.bpf.core.spec import MOST_LEVELS, Accessor, Spec, is_flexible, size_of
from kprobesim.types.btf import Btf
from kprobesim.types.model import Array, Composite, Enum, Float, Int, Member, Type

__all__ = ["Target"]

_UNNAMED = {"ptr": "a pointer", "array": "an array", "func_proto": "a function"}


class Target:
    """A kernel's BTF, and those of the modules that are loaded.

    Args:
        btf: The kernel's own.
        modules: The split BTF of modules by their names; looked at only for what the kernel's own
            lacks.
    """

    def __init__(self, btf: Btf, modules: Mapping[str, Btf] | None = None) -> None:
        self.btf = btf
        self.modules = dict(modules or {})
        self._candidates: dict[tuple[str, str], list[Type]] = {}
        self._members: dict[Type, tuple[Member, ...]] = {}

    def candidates(self, local: Type) -> list[Type]:
        """All types that share the kind and the essential name of ``local``."""
        name = essential_name(local.name)
        kind = "enum" if isinstance(local, Enum) else local.kind
        found = self._candidates.get((name, kind))
        if found is None:
            found = _candidates(self.btf.flavours(name), local, name)
            if not found:
                for module in self.modules.values():
                    own = [one for one in module.flavours(name) if one.btf is module]
                    found += _candidates(own, local, name)
            self._candidates[name, kind] = found
        return list(found)

    def match(self, local: Spec, root: Type, kind: CoreKind) -> Spec | str:
        """The same way from ``root``, a candidate; or why there is none.

        Raises:
            CannotRelocate: The types of the kernel make no sense.
        """
        if kind.is_of_type:
            relation = types_match if kind is CoreKind.TYPE_MATCHES else types_are_compatible
            if relation(local.root, root):
                return Spec(root)
            return f"{root.kind} {root.name} is not the same in this kernel"
        if kind.is_of_enum:
            return _match_value(local, root)
        return self._match_field(local, root, hint=not kind.is_question)

    def _match_field(self, local: Spec, root: Type, hint: bool) -> Spec | str:
        spec = Spec(root)
        here = root
        budget = Budget()
        for number, wanted in enumerate(local.accessors):
            here = here.stripped
            if wanted.name is not None:
                member = self._find(wanted, here, spec, budget)
                if member is None:
                    return _gone(here, wanted.name, hint)
                mine = self.members(wanted.type)[wanted.index].type
                if not fields_are_compatible(mine, member.type):
                    ours, theirs = mine.stripped, member.type.stripped
                    return (
                        f"{_called(here)}.{wanted.name} is {_called(theirs)} in this kernel, "
                        f"not {_called(ours)}"
                    )
                here = member.type
                continue
            if number:
                if not isinstance(here, Array):
                    return f"{_called(here)} is no array in this kernel"
                if wanted.index >= here.count and not is_flexible(spec.accessors[-1], here):
                    return f"the array has {here.count} elements in this kernel"
                here = here.element.stripped
            if spec.levels == MOST_LEVELS:
                raise CannotRelocate("too many levels of types")
            spec.accessors.append(Accessor(here, wanted.index))
            spec.levels += 1
            spec.bit_offset += wanted.index * size_of(here) * 8
        return spec

    def _find(self, wanted: Accessor, owner: Type, spec: Spec, budget: Budget) -> Member | None:
        """The member called like ``wanted``; those of anonymous members count as the owner's."""
        if not isinstance(owner, Composite):
            return None
        members = self.members(owner)
        budget.spend(len(members))
        for index, member in enumerate(members):
            if member.name and member.name != wanted.name:
                continue
            if spec.levels >= MOST_LEVELS:
                raise CannotRelocate("too many levels of types")
            spec.levels += 1
            spec.bit_offset += member.bit_offset
            if member.name:
                spec.accessors.append(Accessor(owner, index, member.name))
                return member
            found = self._find(wanted, member.type.stripped, spec, budget)
            if found is not None:
                return found
            spec.levels -= 1
            spec.bit_offset -= member.bit_offset
        return None

    def members(self, owner: Type) -> tuple[Member, ...]:
        """The members of a struct or union, read once."""
        found = self._members.get(owner)
        if found is None:
            assert isinstance(owner, Composite)
            found = self._members[owner] = owner.members
        return found


def _candidates(named: list[Type], local: Type, name: str) -> list[Type]:
    return [one for one in named if same_kind(one, local) and essential_name(one.name) == name]


def _gone(owner: Type, name: str, hint: bool) -> str:
    text = f"{_called(owner)} has no member {name}"
    nearest = nearest_members(owner, name) if hint else []
    return text + (f"; it has {', '.join(nearest)}" if nearest else "")


def _called(kind: Type) -> str:
    """A type in a message: ``struct inode``, ``int``, ``a pointer``."""
    if isinstance(kind, (Int, Float)):
        return kind.name
    if kind.name:
        return f"{kind.kind} {kind.name}"
    return _UNNAMED.get(kind.kind, f"an anonymous {kind.kind}")


def _match_value(local: Spec, root: Type) -> Spec | str:
    target = root.stripped
    wanted = essential_name(local.accessors[0].name or "")
    if not isinstance(target, Enum):
        return f"{root.name} is no enum in this kernel"
    for index, value in enumerate(target.values):
        if essential_name(value.name) == wanted:
            return Spec(root, [Accessor(target, index, value.name)], levels=1)
    return f"enum {root.name} has no {wanted}"
