"""``Site``: a probe point as the rules found it, before its instruction is looked at."""

from __future__ import annotations

from kprobesim.hexrepr import HexRepr
from kprobesim.late_dataclasses import dataclass

__all__ = ["Site"]


@dataclass(frozen=True, repr=False)
class Site(HexRepr):
    """Where a probe goes, and what the architecture must know of that place.

    Attributes:
        address: The probe's address; behind an ENDBR for one that asked for the entry.
        symbol: The symbol that encloses it, as kallsyms names it.
        symbol_start: Where that symbol begins.
        on_func_entry: Whether nothing of the function has run there, but perhaps an ENDBR.
        has_exception_entry: Whether the kernel expects a fault there (``__ex_table``).
        has_post_handler: Whether the probe has a post_handler.
        ftrace: Whether the probe goes through ftrace (KPROBES_ON_FTRACE).
    """

    address: int
    symbol: str
    symbol_start: int
    on_func_entry: bool = False
    has_exception_entry: bool = False
    has_post_handler: bool = False
    ftrace: bool = False

    @property
    def offset(self) -> int:
        """Bytes from the symbol's start."""
        return self.address - self.symbol_start

    def __str__(self) -> str:
        return f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol
