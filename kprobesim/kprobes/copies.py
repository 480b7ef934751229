"""Where copies of probed instructions run by themselves, with nobody waiting for their end."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["OutOfLineCopies"]


class OutOfLineCopies:
    """Boosted copies in slots and those in detours: of which instruction each is.

    A fault at one is the original's. The kernel does not know that, and oopses in the slot.
    """

    def __init__(self) -> None:
        self._originals: dict[int, int] = {}

    def add(self, copy: int, original: int) -> None:
        """The instruction at ``original`` also runs at ``copy``."""
        self._originals[copy] = original

    def add_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Several: where each copy is, and where its original."""
        self._originals.update(pairs)

    def drop(self, copy: int) -> None:
        """What is at ``copy`` is no copy any more, if it was one."""
        self._originals.pop(copy, None)

    def original_of(self, address: int) -> int | None:
        """Of which instruction there is a copy at ``address``."""
        return self._originals.get(address)
