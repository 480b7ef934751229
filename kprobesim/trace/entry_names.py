"""``EntryNames``: which function begins at an address."""

from __future__ import annotations

from kprobesim.functions.clones import without_cold
from kprobesim.image import SymbolTable

__all__ = ["EntryNames"]


class EntryNames:
    """The names of functions by their first instructions, each looked up once.

    Cold parts are no functions of their own, nor is what has one of the ``but_for`` in its name.
    """

    def __init__(self, symbols: SymbolTable, but_for: tuple[str, ...] = ()) -> None:
        self._symbols = symbols
        self._but_for = but_for
        self._known: dict[int, str | None] = {}

    def at(self, address: int) -> str | None:
        """The function that begins there; ``None`` if none does."""
        try:
            return self._known[address]
        except KeyError:
            found = self._symbols.at(address)
            name = None
            if found is not None and found.offset == 0 and found.symbol.type in "tTwW":
                name = found.symbol.name
                if without_cold(name) != name or any(part in name for part in self._but_for):
                    name = None
            self._known[address] = name
            return name
