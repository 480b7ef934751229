"""Which blocks of guest code run: noted by machine code at the start of each, 3 ns a block.

By Python where there is none for this computer, some 1,000 ns a block: the same notes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from kprobesim.machine.unicorn.coverage_code import (
    AREA,
    CODE,
    EMPTY,
    MAP_BYTES,
    SIZE_SHIFT,
)
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.host_code import put_functions
from kprobesim.machine.unicorn.native import SIGNATURE, Native
from kprobesim.sizes import MASK64

__all__ = ["Block", "CoveredBlocks"]

_SMALLEST = 1 << 14
_HITS = (1 << SIZE_SHIFT) - 1
_BEFORE, _TABLE, _MASK, _USED, _MOST = map(AREA.index, ("before", "table", "mask", "used", "most"))


class Block(NamedTuple):
    """Code that ran from its first byte to its last, ``hits`` times."""

    address: int
    size: int
    hits: int


class CoveredBlocks:
    """Notes the blocks of one engine between :meth:`start` and :meth:`stop`.

    Attributes:
        edges: AFL's map, live: a counter of 8 bits for each of 65,536 pairs of blocks that ran one
            after the other; empty if it is not kept.
    """

    def __init__(
        self, engine: Engine, low: int, high: int, *, edges: bool, blocks: bool, native: bool = True
    ) -> None:
        """Nothing has run yet.

        Args:
            engine: Whose blocks.
            low: The lowest address of a block that is noted.
            high: The first one beyond.
            edges: Whether the map of edges is kept.
            blocks: Whether the table of blocks is.
            native: Whether by machine code, where there is some.
        """
        self._engine = engine
        self._words = (ctypes.c_uint64 * len(AREA))()
        self._map = bytearray(MAP_BYTES if edges else 0)
        self.edges = memoryview(self._map)
        self._full = SIGNATURE(
            self._guard(lambda address, size: self._note_block(address, size, 1))
        )
        self._set("low", low)
        self._set("span", high - low)
        self._set("full", ctypes.cast(self._full, ctypes.c_void_p).value or 0)
        if edges:
            self._set("map", ctypes.addressof(ctypes.c_char.from_buffer(self._map)))
        self._table = memoryview(b"").cast("Q")
        self._blocks = blocks
        if blocks:
            self._make_table(_SMALLEST)
        code = _code() if native else 0
        if code:
            self._native = Native(code, ctypes.addressof(self._words), self)
        else:
            thunk = SIGNATURE(self._guard(self._noted))
            self._native = Native(ctypes.cast(thunk, ctypes.c_void_p).value or 0, 0, (thunk, self))
        self.on = False

    def _set(self, name: str, value: int) -> None:
        self._words[AREA.index(name)] = value

    def _make_table(self, size: int) -> None:
        buffer = bytearray(EMPTY.to_bytes(8, "little") * (2 * size))
        self._table = memoryview(buffer).cast("Q")
        self._set("table", ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
        self._set("mask", size - 1)
        self._set("used", 0)
        self._set("most", size // 2)

    def start(self) -> None:
        """From now on; nothing happens if it does already."""
        if not self.on:
            self._engine.dispatch.every_block(self._native)
            self.on = True

    def stop(self) -> None:
        """Note nothing more; what was noted stays."""
        self._engine.dispatch.no_longer(self._native)
        self.on = False

    def clear(self) -> None:
        """Forget all that was noted."""
        self._map[:] = bytes(len(self._map))
        self._set("before", 0)
        if self._blocks:
            self._make_table(_SMALLEST)

    def __iter__(self) -> Iterator[Block]:
        """The blocks, by address. Some may overlap: one is entered in its middle, too."""
        table = self._table
        rows = sorted(zip(table[0::2].tolist(), table[1::2].tolist(), strict=True))
        for address, word in rows:
            if address != EMPTY:
                yield Block(address, word >> SIZE_SHIFT, word & _HITS)

    # -- in Python ---------------------------------------------------------------------------------

    def _guard(self, note: Callable[[int, int], None]) -> Callable[[int, int, int, int], None]:
        keep = self._engine.hooks.keep

        def guarded(_uc: int, address: int, size: int, _data: int) -> None:
            try:
                note(address, size)
            except BaseException as error:
                keep(error)

        return guarded

    def _noted(self, address: int, size: int) -> None:
        """What the machine code does."""
        words = self._words
        if address - words[0] & MASK64 >= words[1]:
            return
        if self._map:
            block = (address >> 4 ^ address << 8) & (MAP_BYTES - 1)
            edge = words[_BEFORE] ^ block
            words[_BEFORE] = block >> 1
            self._map[edge] = self._map[edge] + 1 if self._map[edge] < 255 else 1
        if self._blocks:
            self._note_block(address, size, 1)

    def _note_block(self, address: int, size: int, hits: int) -> None:
        table, mask = self._table, self._words[_MASK]
        index = (address ^ address >> 4) & mask
        while table[2 * index] not in (address, EMPTY):
            index = index + 1 & mask
        if table[2 * index] == EMPTY:
            if self._words[_USED] >= self._words[_MOST]:
                self._grow()
                self._note_block(address, size, hits)
                return
            self._words[_USED] += 1
            table[2 * index], table[2 * index + 1] = address, 0
        word = table[2 * index + 1]
        most = max(size, word >> SIZE_SHIFT)
        table[2 * index + 1] = most << SIZE_SHIFT | (word & _HITS) + hits

    def _grow(self) -> None:
        old = list(self)
        self._make_table(4 * (self._words[_MASK] + 1))
        for block in old:
            self._note_block(*block)


@cache
def _code() -> int:
    """Where the machine code is, once a process; 0 where there is none for this computer."""
    functions = put_functions(CODE)
    return functions["covered"] if functions else 0
