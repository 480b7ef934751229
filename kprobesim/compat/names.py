"""``FunctionNames``: the names of a kernel's functions, looked up and looked through as one text.

A set of them would take longer to make than most questions take to answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from kprobesim.image import SymbolTable
from kprobesim.image.symbols.packed import PackedNames

__all__ = ["FunctionNames"]


class FunctionNames:
    """The functions among ``symbols``: ``"vfs_read" in names``, ``names.starting("bpf_lsm_")``."""

    def __init__(self, symbols: SymbolTable) -> None:
        self._symbols = symbols

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(
            symbol.is_function for symbol in self._symbols.candidates(name)
        )

    def __iter__(self) -> Iterator[str]:
        return iter({symbol.name for symbol in self._symbols.functions()})

    @cached_property
    def text(self) -> str:
        """The names of all symbols, also of data, each between two line ends."""
        names = self._symbols.columns.names
        joined = names.text if isinstance(names, PackedNames) else b"\0".join(names)
        return "\n" + joined.decode("utf-8", "surrogateescape").replace("\0", "\n") + "\n"

    def starting(self, prefix: str) -> Iterator[str]:
        """The names of symbols that begin with ``prefix``."""
        wanted = "\n" + prefix
        at = self.text.find(wanted)
        while at >= 0:
            end = self.text.index("\n", at + 1)
            yield self.text[at + 1 : end]
            at = self.text.find(wanted, end)
