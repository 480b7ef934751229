"""``DrgnObjects``: variables, functions and constants by name, where no DWARF knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import drgn

from kprobesim.bridges.drgn.types import DrgnTypes
from kprobesim.errors import SymbolError
from kprobesim.image import SymbolTable
from kprobesim.typed.variables import VariableType, find_variable
from kprobesim.types.btf import Btf
from kprobesim.types.holders import enum_with
from kprobesim.types.model import Function

if TYPE_CHECKING:
    from drgn import Program

__all__ = ["DrgnObjects"]


class DrgnObjects:
    """Finds what BTF has a type of, or :mod:`~kprobesim.typed.known_variables`."""

    def __init__(
        self,
        types: DrgnTypes,
        btfs: Callable[[], Sequence[Btf]],
        places: Callable[[str, VariableType | None], int],
        symbols: Callable[[], SymbolTable],
    ) -> None:
        self._types = types
        self._btfs = btfs
        self._places = places
        self._symbols = symbols

    def find(self, prog: Program, name: str, flags: Any, _filename: str | None) -> Any:
        """drgn's question for an object."""
        found = None
        if drgn.FindObjectFlags.VARIABLE in flags:
            found = self._variable(prog, name)
        if found is None and drgn.FindObjectFlags.FUNCTION in flags:
            found = self._function(prog, name)
        if found is None and drgn.FindObjectFlags.CONSTANT in flags:
            found = self._constant(prog, name)
        return found

    def _constant(self, prog: Program, name: str) -> Any:
        enum = enum_with(name, self._btfs())
        if enum is None:
            return None
        value = next(each.value for each in enum.values if each.name == name)
        return drgn.Object(prog, self._types.of(enum), value=value)

    def _function(self, prog: Program, name: str) -> Any:
        for btf in self._btfs():
            for function in btf.named(name, Function)[:1]:
                address = self._address(name, None)
                if address is not None:
                    made = self._types.of(function.prototype)
                    return drgn.Object(prog, made, address=address)
        # One that pahole left out, as older ones do those of __meminit: helpers ask if it is there.
        code = next((each for each in self._symbols().candidates(name) if each.is_function), None)
        if code is None:
            return None
        return drgn.Object(prog, prog.function_type(prog.void_type(), ()), address=code.address)

    def _variable(self, prog: Program, name: str) -> Any:
        known = find_variable(name, self._btfs())
        if known is None:
            return None
        address = self._address(name, known)
        if address is None:
            return None
        return drgn.Object(prog, self._types.of(known.type), address=address)

    def _address(self, name: str, known: VariableType | None) -> int | None:
        try:
            return self._places(name, known)
        except SymbolError:
            return None
