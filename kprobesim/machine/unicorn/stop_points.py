"""Where translated code looks whether it shall stop: everywhere, or only where a block starts.

Unicorn calls a function after every load and store of the guest to see whether somebody has asked
for a stop; a boot spends a sixth of its time on that. And such a stop is not precise: the access is
done again when the guest goes on. The start of every block looks, too, which is enough for a stop,
though not for a code hook that moves the pc: the rest of its block must not run.

``uc_struct.no_exit_request`` (2.1), which is there for the IT blocks of 32-bit ARM, leaves the
calls out of what is translated while it is set. Here it is set, except while a block that holds a
hooked address is being translated: Unicorn tells of every new block, so such a one is thrown away
before it runs, and translated again.
"""

from __future__ import annotations

import ctypes
import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from functools import cache

from kprobesim.machine.unicorn.specimen import structs_after_thumb

__all__ = ["BlockExits", "find_switch"]

_MOST = 4095  # how far a block may reach beyond its first byte (a page)
_SEEN = 0x2000  # bytes of uc_struct that are compared
_NOP, _IF_EQUAL, _SVC = 0xBF00, 0xBF08, 0xDF00  # Thumb

_Zone = tuple[int, int, int]


@cache
def find_switch() -> int:
    """The offset of ``no_exit_request`` in ``uc_struct``, 0 if it cannot be told.

    It stays set after a block that ends within an IT block was translated, and only then.
    """
    plain, within = struct.pack("<2H", _NOP, _SVC), struct.pack("<2H", _IF_EQUAL, _SVC)
    seen = structs_after_thumb((plain, within, plain), _SEEN)
    places = [at for at, values in enumerate(zip(*seen, strict=True)) if values == (0, 1, 0)]
    return places[0] if len(places) == 1 else 0


class BlockExits:
    """The switch of one engine.

    ``hook(low, high, callback)`` lets the callback be told (start, size, instructions) of each new
    block that starts there, and returns a handle for ``unhook``; ``again(start, end)``, for that
    callback, drops what was translated from the range and lets the CPU look for its block anew.
    """

    def __init__(
        self,
        switch: ctypes.c_uint8,
        hook: Callable[[int, int, Callable[[int, int, int], None]], int],
        unhook: Callable[[int], None],
        again: Callable[[int, int], None],
    ) -> None:
        self._switch = switch
        self._hook = hook
        self._unhook = unhook
        self._again = again
        self._hooked: list[int] = []
        self._ranges: list[tuple[int, int]] = []
        self._zones: list[_Zone] = []  # where blocks that reach a hooked address start; disjoint
        self._refused = -1
        self._always = self._everywhere = False
        switch.value = 1

    def add(self, address: int, last: int) -> None:
        """A hook that may leave its block will be at ``address``, or at each one up to ``last``."""
        if address == last:
            insort(self._hooked, address)
        else:
            self._ranges.append((address, last))
        low, high = max(0, address - _MOST), last
        zones = self._zones
        first = bisect_left(zones, low, key=lambda zone: zone[1])
        end = bisect_right(zones, high, key=lambda zone: zone[0])
        touched = zones[first:end]
        if len(touched) == 1 and touched[0][0] <= low and high <= touched[0][1]:
            return
        for zone in touched:
            self._unhook(zone[2])
            low, high = min(low, zone[0]), max(high, zone[1])
        zones[first:end] = [(low, high, self._hook(low, high, self._generated))]

    def remove(self, address: int, last: int) -> None:
        """The hook is gone. Its zone stays: it costs little."""
        if address == last:
            self._hooked.remove(address)
        else:
            self._ranges.remove((address, last))

    def look_everywhere(self, on: bool) -> None:
        """In blocks that are translated from now on: a counted run ends at any instruction."""
        self._everywhere = self._always = on
        self._switch.value = not on

    def look_in_next(self) -> None:
        """In the next block that is translated: it will be left in its middle, a step's for one.

        Found out by :meth:`_generated`, that block would be thrown away, and with it the one of the
        same instructions that is not stepped, and so on in turn at every hit: 40 us.
        """
        self._switch.value = 0

    def _holds(self, start: int, end: int) -> bool:
        at = bisect_left(self._hooked, start)
        if at < len(self._hooked) and self._hooked[at] < end:
            return True
        return any(first < end and start <= last for first, last in self._ranges)

    def _generated(self, start: int, size: int, instructions: int) -> None:
        """A block was translated, and is about to run."""
        switch = self._switch
        if not switch.value:
            switch.value = not self._always
            return
        if self._holds(start, start + size):
            # A block that overwrites itself is replaced by its first instruction, for one turn:
            # thrown away, that would come back for ever.
            self._always = self._everywhere or (instructions == 1 and start == self._refused)
            self._refused = start
            switch.value = 0
            self._again(start, start + size)
