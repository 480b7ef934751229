"""A kernel for the grammar of definitions that has what is put into it."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from kprobesim.arch.architecture import architecture
from kprobesim.dynevent.dialect import Dialect, newest_dialect
from kprobesim.types.btf import Btf

__all__ = ["PlainKernel"]


@dataclass
class PlainKernel:
    """Facts as data: ``symbols`` by their address, all of them functions."""

    arch: str
    dialect: Dialect = field(default_factory=lambda: newest_dialect(btf=False))
    symbols: dict[str, int] = field(default_factory=lambda: {"f": 0x1000, "g": 0x2000})
    ambiguous: frozenset[str] = frozenset()
    stack_words: int = 2048
    types: tuple[Btf, ...] = ()
    newest: PlainKernel = field(init=False)

    def __post_init__(self) -> None:
        self.newest = self

    @property
    def registers(self) -> dict[str, str]:
        return {name: name for name in architecture(self.arch).abi.pt_regs}

    def module_is_loaded(self, name: str) -> bool:
        return False

    def symbol_errno(self, symbol: str) -> int:
        if symbol in self.ambiguous:
            return errno.EADDRNOTAVAIL
        return 0 if symbol in self.symbols or ":" in symbol else errno.ENOENT

    def entry_errno(self, symbol: str, offset: int) -> int:
        if symbol not in self.symbols:
            return errno.ENOENT
        return errno.EINVAL if offset else 0

    def lookup(self, symbol: str) -> int | None:
        return self.symbols.get(symbol)

    def pointer_text(self, address: int) -> str:
        return f"{address:016x}"
