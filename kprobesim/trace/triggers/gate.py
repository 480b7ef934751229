"""``Gate``: where programs tell a histogram of hits, as long as it is open."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.programs.appending import Outlets
from kprobesim.programs.stores.stream import Outlet
from kprobesim.programs.values import Value

__all__ = ["Gate"]


class Gate(Outlets):
    """A way into a stream for the programs of one trigger."""

    def __init__(self, stream: Outlets) -> None:
        self._stream = stream
        self._outlets: list[Outlet] = []
        self._open = True

    @property
    def address(self) -> int:
        """Where compiled code finds the stream's head."""
        return self._stream.address

    @property
    def stamped(self) -> bool:
        """Whether entries have stamps."""
        return self._stream.stamped

    def outlet(self, values: Sequence[Value]) -> Outlet:
        """See :meth:`Stream.outlet`."""
        outlet = self._stream.outlet(values)
        outlet.on = self._open
        self._outlets.append(outlet)
        return outlet

    @property
    def open(self) -> bool:
        """Whether anything goes through; to be set, also at a hit."""
        return self._open

    @open.setter
    def open(self, is_open: bool) -> None:
        self._open = is_open
        for outlet in self._outlets:
            outlet.on = is_open
