"""Who is armed at which address, as a hash table that the host's machine code reads.

Open addressing, at most half full; an entry that goes lets those behind it move up, so that a look
for what is not there ends at the first empty one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from kprobesim.machine.unicorn.dispatch_code import ENTRY_WORDS, HOMES
from kprobesim.machine.unicorn.host_code import host_machine
from kprobesim.sizes import MASK64

__all__ = ["ArmedTable"]

_EMPTY = MASK64
_SMALLEST = 64


class ArmedTable:
    """The entries: an address, a function, its data and flags.

    ``placed(address, mask)`` is told where the table is, and the number of its entries less one,
    whenever that changes. No machine code may be reading it then. ``host`` is whose, by default
    this computer's.
    """

    def __init__(self, placed: Callable[[int, int], None], host: str = "") -> None:
        self._placed = placed
        self._home = HOMES.get(host or host_machine(), hash)
        self._used = 0
        self._make(_SMALLEST)

    def _make(self, size: int) -> None:
        self._mask = size - 1
        buffer = bytearray(b"\xff" * (size * ENTRY_WORDS * 8))
        self._words = memoryview(buffer).cast("Q")
        self._placed(ctypes.addressof(ctypes.c_char.from_buffer(buffer)), self._mask)

    def __len__(self) -> int:
        return self._used

    def _find(self, address: int) -> int:
        """The word of its entry, or of the empty one where it would be."""
        words, mask = self._words, self._mask
        index = self._home(address) & mask
        while True:
            found = words[index * ENTRY_WORDS]
            if found in (address, _EMPTY):
                return index * ENTRY_WORDS
            index = index + 1 & mask

    def put(self, address: int, function: int, data: int, flags: int) -> None:
        """Whoever was at ``address`` is replaced."""
        at = self._find(address)
        words = self._words
        if words[at] == _EMPTY:
            if 2 * self._used > self._mask:
                self._grow()
                words, at = self._words, self._find(address)
            self._used += 1
        words[at + 1], words[at + 2], words[at + 3] = function, data, flags
        words[at] = address

    def remove(self, address: int) -> None:
        """Nobody is at ``address`` now; nothing happens if nobody was."""
        words, mask = self._words, self._mask
        hole = self._find(address)
        if words[hole] == _EMPTY:
            return
        self._used -= 1
        hole //= ENTRY_WORDS
        index = hole
        while True:
            index = index + 1 & mask
            at = index * ENTRY_WORDS
            found = words[at]
            if found == _EMPTY:
                break
            home = self._home(found) & mask
            if index - home & mask >= index - hole & mask:  # it was pushed on from there, or before
                words[hole * ENTRY_WORDS : (hole + 1) * ENTRY_WORDS] = words[at : at + ENTRY_WORDS]
                hole = index
        words[hole * ENTRY_WORDS] = _EMPTY

    def _grow(self) -> None:
        old = self._words
        self._make(4 * (self._mask + 1))
        for at in range(0, len(old), ENTRY_WORDS):
            if old[at] != _EMPTY:
                new = self._find(old[at])
                self._words[new : new + ENTRY_WORDS] = old[at : at + ENTRY_WORDS]
