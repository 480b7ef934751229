"""``DrgnSymbols``: the kernel's symbols, and its modules', as a finder of symbols for drgn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import drgn

from kprobesim.image import Symbol, SymbolTable

if TYPE_CHECKING:
    from drgn import Program

__all__ = ["DrgnSymbols"]


class DrgnSymbols:
    """Finds symbols in the table that ``symbols()`` gives."""

    def __init__(self, symbols: Callable[[], SymbolTable]) -> None:
        self._symbols = symbols

    def find(self, _prog: Program, name: str | None, address: int | None, one: bool) -> list[Any]:
        """drgn's question for symbols."""
        symbols = self._symbols()
        found: Iterable[Symbol]
        if name is not None:
            found = symbols.candidates(name)
            if address is not None:
                found = [each for each in found if _holds(each, address)]
        elif address is not None:
            at = symbols.at(address)
            found = [] if at is None else [at.symbol]
        else:
            found = symbols
        made = []
        for each in found:
            made.append(_as_drgn(each))
            if one:
                break
        return made


def _holds(symbol: Symbol, address: int) -> bool:
    return symbol.address <= address < symbol.address + max(symbol.size, 1)


def _as_drgn(symbol: Symbol) -> Any:
    letter = symbol.type
    binding = (
        drgn.SymbolBinding.WEAK
        if letter in "wWvV"
        else (drgn.SymbolBinding.GLOBAL if letter.isupper() else drgn.SymbolBinding.LOCAL)
    )
    kind = drgn.SymbolKind.FUNC if symbol.is_function else drgn.SymbolKind.OBJECT
    return drgn.Symbol(symbol.name, symbol.address, symbol.size, binding, kind)
