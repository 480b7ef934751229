"""``KernelFacts``: what only a kernel knows, of what its definitions speak of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kprobesim.dynevent.dialect import Dialect
from kprobesim.types.btf import Btf

__all__ = ["KernelFacts"]


class KernelFacts(Protocol):
    """A kernel, as the grammar asks it."""

    @property
    def dialect(self) -> Dialect:
        """Its grammar."""

    @property
    def newest(self) -> KernelFacts:
        """The same kernel with the newest grammar."""

    @property
    def registers(self) -> Mapping[str, str]:
        """What ``regs_query_register_offset()`` knows, with the fields of ``struct pt_regs``."""

    @property
    def stack_words(self) -> int:
        """``THREAD_SIZE`` in words of 64 bits."""

    @property
    def types(self) -> tuple[Btf, ...] | None:
        """Its own types, then those of its modules; empty without BTF.

        ``None``: nobody knows them, and what needs them stays a ``Variable`` or a ``Cast``.
        """

    def module_is_loaded(self, name: str) -> bool:
        """Whether a module of that name is loaded."""

    def symbol_errno(self, symbol: str) -> int:
        """What it says to ``MODULE:SYMBOL`` or ``SYMBOL`` before it is registered.

        0, or ENOENT or EADDRNOTAVAIL where the kernel looks how often the symbol is there.
        """

    def entry_errno(self, symbol: str, offset: int) -> int:
        """``kprobe_on_func_entry()``: 0 at an entry, EINVAL elsewhere, ENOENT: no symbol there."""

    def lookup(self, symbol: str) -> int | None:
        """``kallsyms_lookup_name()``: the first symbol of that name, if there is one."""

    def pointer_text(self, address: int) -> str:
        """What its ``%p`` prints: a hash, or few addresses as they are."""
