"""How functions are declared, by the kernel's types: prototypes and the registers of arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property

from kprobesim.arch.architecture import architecture, halves
from kprobesim.errors import TypesError
from kprobesim.types.btf import Btf
from kprobesim.types.model import Float, Function, Struct, Union
from kprobesim.types.prototypes import Prototypes

__all__ = ["Declared"]

_REGISTER_BYTES = 8
#: A struct that is larger is passed in memory (x86-64) or by its address (ARM64).
_LARGEST_STRUCT = 16
_LARGE_IN_MEMORY = halves(x86_64=True, arm64=False)


class Declared:
    """The functions that ``btf`` declares; none without any types."""

    def __init__(self, btf: Btf | None, arch: str) -> None:
        self._btf = btf
        self._arch = arch
        self._prototypes = Prototypes()

    @cached_property
    def _numbers(self) -> Mapping[str, tuple[int, ...]]:
        return self._btf.functions() if self._btf is not None else {}

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def names(self) -> Collection[str]:
        """All that is declared."""
        return self._numbers.keys()

    def _function(self, name: str) -> Function | None:
        numbers = self._numbers.get(name)
        if not numbers or self._btf is None:
            return None
        found = self._btf.type(numbers[0])
        return found if isinstance(found, Function) else None

    def text(self, name: str) -> str | None:
        """The declaration in C; ``None`` without one, or where its types are damaged."""
        function = self._function(name)
        try:
            return self._prototypes.text(function) if function is not None else None
        except TypesError:
            return None

    def registers(self, name: str) -> tuple[tuple[int, ...], ...] | None:
        """The argument registers of each parameter, from 0; of one on the stack none.

        ``None`` as a whole: it is not declared, or takes any number of arguments.
        """
        function = self._function(name)
        if function is None:
            return None
        try:
            if function.prototype.is_variadic:
                return None
            return self.places(function)
        except TypesError:
            return None

    def places(self, function: Function) -> tuple[tuple[int, ...], ...]:
        """The same for a declaration; of a variadic one, for the parameters that have names.

        Raises:
            TypesError: A type of it is damaged.
        """
        most = len(architecture(self._arch).abi.arguments)
        in_memory = _LARGE_IN_MEMORY[self._arch]
        returned = function.returns.stripped
        large = isinstance(returned, (Struct, Union)) and (returned.size or 0) > _LARGEST_STRUCT
        next_one = 1 if in_memory and large else 0
        places: list[tuple[int, ...]] = []
        for parameter in function.parameters:
            passed = parameter.type.stripped
            size = passed.size or 0
            needs = max(1, -(-size // _REGISTER_BYTES))
            if isinstance(passed, Float):
                needs = 0
            elif size > _LARGEST_STRUCT:
                needs = 0 if in_memory else 1
            fits = needs and next_one + needs <= most
            places.append(tuple(range(next_one, next_one + needs)) if fits else ())
            if fits:
                next_one += needs
            elif needs and not in_memory:
                next_one = most  # what follows is on the stack as well
        return tuple(places)
