"""What the types of two kernels are compared by: each type's C text, made once, by its number.

Hundreds of thousands of members and parameters are compared, of a few thousand types: so records
are read as words here, and not as the objects of :mod:`kprobesim.types.model`.
"""

from __future__ import annotations

from kprobesim.types.btf import Btf
from kprobesim.types.c_text import declaration
from kprobesim.types.header import MOST_ELEMENTS, RECORD
from kprobesim.types.model import Composite, Enum, FunctionPrototype, Type

__all__ = ["Texts"]


class Texts(dict[int, str]):
    """The C text of each type of one kernel, by its number."""

    def __init__(self, btf: Btf) -> None:
        super().__init__()
        self.btf = btf

    def __missing__(self, number: int) -> str:
        text = self[number] = declaration(self.btf.type(number))
        return text

    def of(self, type: Type) -> str:
        """The type in C."""
        return self[type.number]

    def of_prototype(self, prototype: FunctionPrototype) -> tuple[object, ...]:
        """What is equal in two kernels if nothing changed: result, types and names."""
        words, string = self.btf.words, self.btf.string
        at = prototype.at
        start = at + RECORD
        end = start + 2 * (words[at + 1] & MOST_ELEMENTS)
        return (
            self[words[at + 2]],
            *[(string(words[here]), self[words[here + 1]]) for here in range(start, end, 2)],
        )

    def of_definition(self, type: Type) -> tuple[object, ...]:
        """What is equal in two kernels if nothing changed: size, members with types and places."""
        if isinstance(type, Enum):
            return type.size, type.values
        if not isinstance(type, Composite):
            return ()
        words, string = self.btf.words, self.btf.string
        at = type.at
        start = at + RECORD
        end = start + 3 * (words[at + 1] & MOST_ELEMENTS)
        return (
            words[at + 2],
            words[at + 1] >> 31,
            *[
                (string(words[here]), self[words[here + 1]], words[here + 2])
                for here in range(start, end, 3)
            ],
        )
