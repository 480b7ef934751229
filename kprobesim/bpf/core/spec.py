"""``Spec``: a way from a type to one of its members, as the access string ``0:1:2`` says it.

``bpf_core_parse_spec()`` of libbpf's relo_core.c. The numbers walk through every level of nesting;
what counts for finding the same in another kernel are the names, and the indexes of arrays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kprobesim.bpf.core.budget import CannotRelocate
from kprobesim.bpf.core.kinds import CoreKind
from kprobesim.bpf.core.names import essential_name
from kprobesim.sizes import MASK32
from kprobesim.types.model import Array, Composite, Enum, Type

__all__ = ["MOST_LEVELS", "Accessor", "Spec", "is_flexible", "parse_spec", "size_of"]

MOST_LEVELS = 64  # BPF_CORE_SPEC_MAX_LEN
_ACCESS = re.compile(r"\d+(?::\d+)*")


@dataclass(frozen=True)
class Accessor:
    """A step: to member ``index`` of ``type``, called ``name``, or to element ``index``."""

    type: Type
    index: int
    name: str | None = None


@dataclass
class Spec:
    """The way from ``root``; ``bit_offset`` is where it ends."""

    root: Type
    accessors: list[Accessor] = field(default_factory=list)
    levels: int = 0
    bit_offset: int = 0

    @property
    def path(self) -> str:
        """It in C: ``inode.i_atime``, ``pt_regs.regs[3]``, or an enum's ``name::VALUE``."""
        text = essential_name(self.root.name) or "(anonymous)"
        if self.accessors and isinstance(self.accessors[0].type, Enum):
            return f"{text}::{essential_name(self.accessors[0].name or '?')}"
        for number, one in enumerate(self.accessors):
            if one.name is not None:
                text += f".{one.name}"
            elif number or one.index:
                text += f"[{one.index}]"
        return text


def size_of(kind: Type) -> int:
    """How many bytes an object of that type has.

    Raises:
        CannotRelocate: None, or too many.
    """
    size = kind.size
    if size is None or size > MASK32:
        raise CannotRelocate(f"{kind.kind} {kind.name or '(anonymous)'} has no size")
    return size


def is_flexible(before: Accessor, array: Array) -> bool:
    """Whether an array without elements is the last member of the struct that it is in."""
    owner = before.type
    return (
        before.name is not None
        and not array.count
        and isinstance(owner, Composite)
        and before.index == len(owner.members) - 1
    )


def parse_spec(root: Type, access: str, kind: CoreKind) -> Spec:
    """What the access string means in the object's own types.

    Raises:
        CannotRelocate: It leads nowhere.
    """
    if not _ACCESS.fullmatch(access):
        raise CannotRelocate(f"the access string {access!r} is malformed")
    numbers = [int(one) for one in access.split(":")]
    if len(numbers) > MOST_LEVELS:
        raise CannotRelocate(f"{len(numbers)} levels of types are too many")
    spec = Spec(root, levels=len(numbers))
    if kind.is_of_type:
        if access != "0":
            raise CannotRelocate(f"the access string {access!r} is not that of a type")
        return spec
    start = root.stripped
    first = numbers[0]
    if kind.is_of_enum:
        if not isinstance(start, Enum) or len(numbers) > 1 or first >= len(start.values):
            raise CannotRelocate(f"{root.name} is no enum with a value number {first}")
        spec.accessors.append(Accessor(start, first, start.values[first].name))
        return spec
    spec.accessors.append(Accessor(start, first))
    spec.bit_offset = first * size_of(start) * 8
    here: Type = start
    for number in numbers[1:]:
        here = _step(spec, here.stripped, number)
    return spec


def _step(spec: Spec, here: Type, number: int) -> Type:
    """Go on to a member or an element; returns its type."""
    if isinstance(here, Composite):
        members = here.members
        if number >= len(members):
            raise CannotRelocate(f"{here.kind} {here.name} has no member number {number}")
        member = members[number]
        spec.bit_offset += member.bit_offset
        if member.name:
            spec.accessors.append(Accessor(here, number, member.name))
        return member.type
    if isinstance(here, Array):
        element = here.element.stripped
        if number >= here.count and not is_flexible(spec.accessors[-1], here):
            raise CannotRelocate(f"element {number} of an array with {here.count}")
        spec.accessors.append(Accessor(element, number))
        spec.bit_offset += number * size_of(element) * 8
        return element
    raise CannotRelocate(f"{here.kind} {here.name} has no members")
