"""``SeenMemory``: what all CPUs see of a guest's memory, where any of them has stored."""

from __future__ import annotations

from collections.abc import Callable

from kprobesim.sizes import PAGE

__all__ = ["SeenMemory"]


class SeenMemory:
    """Copies of the pages that were stored to; a run begins with none."""

    def __init__(self, initial: Callable[[int, int], bytes]) -> None:
        """Nothing was stored.

        Args:
            initial: What was in memory when the run began, by physical address and size.
        """
        self._initial = initial
        self._pages: dict[int, bytearray] = {}

    def clear(self) -> None:
        """A run begins."""
        self._pages.clear()

    def read(self, physical: int, size: int) -> bytes:
        """What all see; ``size`` bytes lie in one page."""
        at = physical % PAGE
        return bytes(self._page(physical - at)[at : at + size])

    def write(self, physical: int, data: bytes) -> None:
        """All see ``data``, which lies in one page."""
        at = physical % PAGE
        self._page(physical - at)[at : at + len(data)] = data

    def _page(self, start: int) -> bytearray:
        page = self._pages.get(start)
        if page is None:
            page = self._pages[start] = bytearray(self._initial(start, PAGE))
        return page
