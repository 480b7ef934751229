"""What has members: structs, unions, and sections with variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kprobesim.types.base import Sized, Type

__all__ = ["Composite", "DataSection", "Forward", "Member", "SectionVariable", "Struct", "Union"]

_MOST_MEMBERS = 1 << 16  # with those of anonymous structs; a kernel's largest struct has 500


class Member(NamedTuple):
    """A member of a struct or union; ``bit_size`` is 0 unless it is a bit field.

    ``name`` is ``""`` for an anonymous struct or union, whose members count as the outer one's.
    """

    name: str
    type: Type
    bit_offset: int
    bit_size: int

    @property
    def offset(self) -> int:
        """The byte that it starts in."""
        return self.bit_offset >> 3


class Composite(Sized):
    """A struct or a union."""

    __slots__ = ()

    @property
    def members(self) -> tuple[Member, ...]:
        """Its members, in order.

        Raises:
            TypesError: One of them has a type or a name that is not there.
        """
        words, string, refer = self.btf.words, self.btf.string, self._referred
        if self._flag:  # the upper byte of an offset is the width of a bit field
            return tuple(
                Member(
                    string(words[at]),
                    refer(words[at + 1]),
                    words[at + 2] & 0xFF_FFFF,
                    words[at + 2] >> 24,
                )
                for at in self._elements(3)
            )
        return tuple(
            Member(string(words[at]), refer(words[at + 1]), words[at + 2], 0)
            for at in self._elements(3)
        )

    def find(self, name: str) -> Member | None:
        """The member ``name``, also in an anonymous struct or union, which count as this one's own.

        The offset of what is returned is that in this one.

        Raises:
            TypesError: One of the members has a type or a name that is not there.
        """
        return next((member for member in self.flat() if member.name == name), None)

    def inside(self, path: str) -> Member | None:
        """The member ``"a.b.c"``: each but the last is a struct or union, no pointer nor array.

        The offset of what is returned is that in this one.

        Raises:
            TypesError: One of the members has a type or a name that is not there.
        """
        start = 0
        here: Composite | None = self
        found: Member | None = None
        for name in path.split("."):
            if here is None:
                return None
            found = here.find(name)
            if found is None:
                return None
            start += found.bit_offset
            inner = found.type.stripped
            here = inner if isinstance(inner, Composite) else None
        return None if found is None else found._replace(bit_offset=start)

    def flat(self) -> Iterator[Member]:
        """All members, those of anonymous structs and unions instead of these, in order.

        Raises:
            TypesError: One of the members has a type or a name that is not there, or contains it.
        """
        pending = [(member, 0) for member in reversed(self.members)]
        for _ in range(_MOST_MEMBERS):
            if not pending:
                return
            if len(pending) > _MOST_MEMBERS:
                break
            member, start = pending.pop()
            inner = None if member.name else member.type.stripped
            if isinstance(inner, Composite):
                start += member.bit_offset
                pending += [(each, start) for each in reversed(inner.members)]
            else:
                yield member._replace(bit_offset=start + member.bit_offset)
        raise self._endless()


class Struct(Composite):
    """A struct."""

    __slots__ = ()
    kind = "struct"


class Union(Composite):
    """A union."""

    __slots__ = ()
    kind = "union"


class Forward(Type):
    """A struct or union that is declared and not defined."""

    __slots__ = ()
    kind = "fwd"

    @property
    def is_union(self) -> bool:
        """Whether it is a union."""
        return self._flag


class SectionVariable(NamedTuple):
    """A variable (or an extern function) with its place in a section, in bytes."""

    type: Type
    offset: int
    size: int


class DataSection(Sized):
    """A section of an object file, with its variables; a kernel has ``.data..percpu``."""

    __slots__ = ()
    kind = "datasec"

    @property
    def variables(self) -> tuple[SectionVariable, ...]:
        """What is in it."""
        words, refer = self.btf.words, self._referred
        return tuple(
            SectionVariable(refer(words[at]), words[at + 1], words[at + 2])
            for at in self._elements(3)
        )
