"""``Probes``: whether a guest that runs on its way to a call meets a probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kprobesim.kprobes.manager import KprobesManager

__all__ = ["Probes"]


class Probes:
    """The probes as :class:`~kprobesim.inside.arrivals.Observers`."""

    def __init__(self, kprobes: KprobesManager) -> None:
        self._kprobes = kprobes

    def places(self) -> frozenset[int]:
        """Where they are."""
        return frozenset(p.addr for p in self._kprobes if p.addr is not None)

    @contextmanager
    def noticing(self) -> Iterator[list[Any]]:
        """The list gets each hit."""
        hits: list[Any] = []
        callbacks, heard = self._kprobes.listeners.callbacks, hits.append
        callbacks.append(heard)
        before = self._told_nobody()
        try:
            yield hits
        finally:
            callbacks.remove(heard)
            if self._told_nobody() != before:
                heard("a program's")

    def _told_nobody(self) -> int:
        return sum(p.told_nobody for p in self._kprobes)
