"""Functions and their prototypes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kprobesim.types.base import RECORD, Type, linkage_name

__all__ = ["Function", "FunctionPrototype", "Parameter"]


class Parameter(NamedTuple):
    """A parameter of a function; ``name`` is ``""`` where it is not known."""

    name: str
    type: Type


class FunctionPrototype(Type):
    """What a function takes and returns."""

    __slots__ = ()
    kind = "func_proto"

    @property
    def returns(self) -> Type:
        """What it returns."""
        return self._referred(self._word)

    @property
    def is_variadic(self) -> bool:
        """Whether more arguments may follow (``...``): then the last parameter is no type."""
        last = self.at + RECORD + 2 * self._count - 2
        return self._count > 0 and not self.btf.words[last] and not self.btf.words[last + 1]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What it takes, without the ``...`` of a variadic one.

        Raises:
            TypesError: One of them has a type or a name that is not there.
        """
        refer = self._referred
        return tuple(Parameter(name, refer(number)) for name, number in self.parameter_numbers())

    def parameter_numbers(self) -> Iterator[tuple[str, int]]:
        """Name and number of the type of each of :attr:`parameters`.

        Raises:
            TypesError: One of them has a name that is not there.
        """
        words, string = self.btf.words, self.btf.string
        start = self.at + RECORD
        for at in range(start, start + 2 * (self._count - self.is_variadic), 2):
            yield string(words[at]), words[at + 1]


class Function(Type):
    """A function: a name and a prototype."""

    __slots__ = ()
    kind = "func"

    @property
    def prototype(self) -> FunctionPrototype:
        """What it takes and returns.

        Raises:
            TypesError: Its type is no prototype.
        """
        found = self._referred(self._word)
        if not isinstance(found, FunctionPrototype):
            raise self.btf.damaged(f"function {self.number} has {found!r} for its prototype")
        return found

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What it takes."""
        return self.prototype.parameters

    @property
    def returns(self) -> Type:
        """What it returns."""
        return self.prototype.returns

    @property
    def linkage(self) -> str:
        """``static``, ``global`` or ``extern``. pahole calls all functions of a kernel static."""
        return linkage_name(self._count)
