"""``MissingDevices``: accesses to physical addresses where there is neither RAM nor a device."""

from __future__ import annotations

from kprobesim.machine.unicorn.engine import Engine

__all__ = ["MissingDevices"]

_UNMAPPED = (6, 7, 8)  # Unicorn's errors: read, write, fetch of unmapped physical memory


class MissingDevices:
    """Those of one engine's guest."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is watched yet."""
        self._engine = engine
        self._first: tuple[int, int] | None = None

    def watch(self, low: int, high: int) -> None:
        """Let accesses from physical ``low`` to ``high``, where there is no RAM, be told exactly.

        Unicorn stops for them only when the block is over.
        """
        words, pc = self._engine.words, self._engine.layout.pc

        def missing(address: int) -> None:
            if self._first is None:
                self._first = address, words[pc]

        self._engine.hooks.on_unmapped(low, high, missing)

    def take(self, status: int) -> str:
        """What a run that ended with ``status`` has used that is not there; "" if that is not why.

        The CPU stands at the first instruction that did, if it is known.
        """
        if status not in _UNMAPPED:
            return ""
        if self._first is None:
            return "a physical address"
        address, self._engine.words[self._engine.layout.pc] = self._first
        self._first = None
        return f"physical address {address:#x}"
