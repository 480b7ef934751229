"""The lines of ``/proc/kallsyms`` (kernel/kallsyms.c, ``s_show()``)."""

from __future__ import annotations

from collections.abc import Iterator

from kprobesim.image import SymbolTable

__all__ = ["kallsyms"]


def kallsyms(symbols: SymbolTable) -> Iterator[str]:
    """A line for each symbol, the kernel's own before those of its modules."""
    for of_modules in (False, True):
        for symbol in symbols:
            if bool(symbol.module) is of_modules:
                module = f"\t[{symbol.module}]" if symbol.module else ""
                yield f"{symbol.address:016x} {symbol.type} {symbol.name}{module}\n"
