"""Names for addresses, as the kernel prints them (kernel/kallsyms.c)."""

from __future__ import annotations

from kprobesim.image import SymbolTable

__all__ = ["Names"]


class Names:
    """``SYMBOL+0xOFFSET/0xSIZE [MODULE]``; the kernel's own are asked for once."""

    def __init__(self, symbols: SymbolTable) -> None:
        self._symbols = symbols
        self._known: dict[int, str] = {}

    def __call__(self, address: int) -> str:
        """The name, or the address where nothing is known."""
        name = self._known.get(address)
        if name is None:
            found = self._symbols.at(address)
            name = f"{address:#x}" if found is None else str(found)
            if found is not None and not found.symbol.module:  # modules come and go
                self._known[address] = name
        return name
