"""``Callback``: a function of Python where compiled code finds it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from kprobesim.programs.stores.words import address_of, new_words

__all__ = ["Callback"]

_CALL = ctypes.CFUNCTYPE(None)


class Callback:
    """One function.

    Attributes:
        address: Where compiled code finds the address of a C function that calls it.
    """

    planted: Any = None

    def __init__(
        self, function: Callable[[], object], keep: Callable[[BaseException], object]
    ) -> None:
        """``keep`` gets what may not leave a callback, and stops the guest."""
        self._function, self._keep = function, keep
        self._callback = _CALL(self._guarded)
        self._words = new_words(1)
        self._words[0] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self.address = address_of(self._words)

    def _guarded(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self._keep(error)

    def call(self) -> None:
        """Call it; for programs that are not compiled."""
        self._function()

    def save(self) -> tuple[int, bytes]:
        """Nothing is kept here."""
        return 0, b""

    def load(self, lost: int, data: bytes) -> None:
        """Nothing is kept here."""
