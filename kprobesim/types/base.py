"""``Type``, and what stands for other types: pointers, arrays, typedefs, qualifiers, variables.

The kinds, their numbers and the layout of their records: include/uapi/linux/btf.h as of Linux 7.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from kprobesim.errors import TypesError

if TYPE_CHECKING:
    from kprobesim.types.btf import Btf

__all__ = [
    "Alias",
    "Array",
    "Const",
    "DeclTag",
    "Pointer",
    "Qualifier",
    "Restrict",
    "Sized",
    "Type",
    "TypeTag",
    "Typedef",
    "Unknown",
    "Variable",
    "Void",
    "Volatile",
]

POINTER_SIZE = 8
#: Types on the way to a struct or a size. libbpf gives up after 32 (MAX_RESOLVE_DEPTH).
_MOST_STEPS = 64
#: Words that each record starts with: name, info, and a size or the number of a type.
RECORD = 3
_LINKAGE = ("static", "global", "extern")


class Type:
    """One type. Two types of one :class:`Btf` are the same if they are the same object.

    Attributes:
        btf: Where it is from.
        number: Its number there; 0 is ``void``.
        kind: What BTF calls this kind, in lower case.
        at: The index of the first word of its record.
    """

    __slots__ = ("at", "btf", "number")
    kind: ClassVar[str] = "?"

    def __init__(self, btf: Btf, number: int, at: int) -> None:
        self.btf = btf
        self.number = number
        self.at = at

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or '(anonymous)'} #{self.number}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _type, (self.btf, self.number)

    @property
    def name(self) -> str:
        """Its name; ``""`` if it has none."""
        return self.btf.string(self.btf.words[self.at])

    @property
    def size(self) -> int | None:
        """How many bytes an object of it has; ``None`` where that makes no sense.

        Raises:
            TypesError: Its definition leads back to itself.
        """
        count, here = 1, self
        for _ in range(_MOST_STEPS):
            if isinstance(here, Array):
                count, here = count * here.count, here.element
            elif isinstance(here, (Alias, Variable)):
                here = here.target
            else:
                size = here._own_size()
                return None if size is None else count * size
        raise self._endless()

    @property
    def stripped(self) -> Type:
        """What it is beneath all typedefs, qualifiers and type tags.

        Raises:
            TypesError: Its definition leads back to itself.
        """
        here = self
        for _ in range(_MOST_STEPS):
            if not isinstance(here, Alias):
                return here
            here = here.target
        raise self._endless()

    @property
    def _flag(self) -> bool:
        return bool(self.btf.words[self.at + 1] >> 31)

    @property
    def _count(self) -> int:
        return self.btf.words[self.at + 1] & 0xFF_FFFF

    @property
    def _word(self) -> int:
        """The third word: a size or the number of a type."""
        return self.btf.words[self.at + 2]

    def _own_size(self) -> int | None:
        return None

    def _referred(self, number: int) -> Type:
        found = self.btf.get(number)
        if found is None:
            raise self.btf.damaged(
                f"type {self.number} refers to type {number}, and there is none of that number"
            )
        return found

    def _elements(self, size: int) -> Iterator[int]:
        """Where each of its elements of ``size`` words starts."""
        start = self.at + RECORD
        return iter(range(start, start + size * self._count, size))

    def _endless(self) -> TypesError:
        return self.btf.damaged(f"type {self.number} is defined by itself, or by too many others")


def _type(btf: Btf, number: int) -> Type:
    return btf.type(number)


def linkage_name(number: int) -> str:
    """What BTF calls the linkage of a function or variable."""
    return _LINKAGE[number] if number < len(_LINKAGE) else f"linkage {number}"


class Void(Type):
    """``void``, which has no record."""

    __slots__ = ()
    kind = "void"

    @property
    def name(self) -> str:
        """``void``."""
        return "void"


class Sized(Type):
    """A type whose record says its size."""

    __slots__ = ()

    def _own_size(self) -> int:
        return self._word


class Pointer(Type):
    """A pointer to ``target``."""

    __slots__ = ()
    kind = "ptr"

    @property
    def target(self) -> Type:
        """What it points to."""
        return self._referred(self._word)

    def _own_size(self) -> int:
        return POINTER_SIZE


class Array(Type):
    """An array of ``count`` elements; a flexible one at the end of a struct has 0."""

    __slots__ = ()
    kind = "array"

    @property
    def element(self) -> Type:
        """The type of each element."""
        return self._referred(self.btf.words[self.at + RECORD])

    @property
    def index(self) -> Type:
        """The type that counts them."""
        return self._referred(self.btf.words[self.at + RECORD + 1])

    @property
    def count(self) -> int:
        """How many elements."""
        return self.btf.words[self.at + RECORD + 2]


class Alias(Type):
    """What is another name for ``target``, or ``target`` with a qualifier."""

    __slots__ = ()

    @property
    def target(self) -> Type:
        """What it stands for."""
        return self._referred(self._word)


class Typedef(Alias):
    """A typedef."""

    __slots__ = ()
    kind = "typedef"


class Qualifier(Alias):
    """``const``, ``volatile`` or ``restrict``."""

    __slots__ = ()


class Const(Qualifier):
    """A type with ``const``."""

    __slots__ = ()
    kind = "const"


class Volatile(Qualifier):
    """A type with ``volatile``."""

    __slots__ = ()
    kind = "volatile"


class Restrict(Qualifier):
    """A pointer with ``restrict``."""

    __slots__ = ()
    kind = "restrict"


class TypeTag(Alias):
    """A type with ``__attribute__((btf_type_tag("name")))``, or another attribute."""

    __slots__ = ()
    kind = "type_tag"

    @property
    def is_attribute(self) -> bool:
        """Whether its name is a whole attribute, as ``address_space(1)``, and not a tag's."""
        return self._flag


class Variable(Type):
    """A variable."""

    __slots__ = ()
    kind = "var"

    @property
    def target(self) -> Type:
        """What it is."""
        return self._referred(self._word)

    @property
    def linkage(self) -> str:
        """``static``, ``global`` or ``extern``."""
        return linkage_name(self.btf.words[self.at + RECORD])


class DeclTag(Type):
    """``__attribute__((btf_decl_tag("name")))`` of ``target``, or of one element of it."""

    __slots__ = ()
    kind = "decl_tag"

    @property
    def target(self) -> Type:
        """What is tagged."""
        return self._referred(self._word)

    @property
    def component(self) -> int | None:
        """The member or parameter that is tagged, counted from 0; ``None`` for the whole."""
        index = self.btf.words[self.at + RECORD]
        return None if index == 0xFFFF_FFFF else index

    @property
    def is_attribute(self) -> bool:
        """Whether its name is a whole attribute, and not a tag's."""
        return self._flag


class Unknown(Type):
    """A kind that did not exist when this was written; BTF itself says how to step over it."""

    __slots__ = ()
    kind = "unknown"
