"""``Gate``: where programs tell a histogram of hits, as long as it is open."""

from __future__ import annotations

from kprobesim.programs.appending import NotedOutlets, Outlets
from kprobesim.programs.stores.stream import Outlet

__all__ = ["Gate"]


class Gate(NotedOutlets):
    """A way into a stream for the programs of one trigger."""

    def __init__(self, stream: Outlets) -> None:
        super().__init__(stream, self._add)
        self._outlets: list[Outlet] = []
        self._open = True

    def _add(self, outlet: Outlet) -> None:
        outlet.on = self._open
        self._outlets.append(outlet)

    @property
    def open(self) -> bool:
        """Whether anything goes through; to be set, also at a hit."""
        return self._open

    @open.setter
    def open(self, is_open: bool) -> None:
        self._open = is_open
        for outlet in self._outlets:
            outlet.on = is_open
