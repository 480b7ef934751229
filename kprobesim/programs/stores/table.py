"""``Table``: what an action keeps for each key, in the order in which the keys first came.

Keys and cells are entries in an array; an index of entry numbers, hashed and open, finds them. The
compiled look-up is :mod:`~kprobesim.programs.compiler.tables`; when the entries are full it calls
back, and they are moved to twice the room.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.programs.stores.cells import Cell
from kprobesim.programs.stores.layout import Packed
from kprobesim.programs.stores.store import Store
from kprobesim.programs.stores.words import Words, address_of, new_words
from kprobesim.sizes import MASK64

__all__ = ["HASH_FACTOR", "TABLE", "Table", "hash_words"]

TABLE = ("used", "room", "lost", "entries", "index", "mask", "grow")
"""The words of a table's head: entries in use and room for them, hits that were lost; addresses of
entries and index; the size of the index - 1; the C function that makes room."""

HASH_FACTOR = 0x9E37_79B9_7F4A_7C15  # 2**64 / the golden ratio
_USED, _ROOM, _LOST, _ENTRIES, _INDEX, _MASK, _GROW = range(len(TABLE))
_FIRST_ROOM = 64
_GROW_CALL = ctypes.CFUNCTYPE(None)


def hash_words(words: Sequence[int]) -> int:
    """The hash of a key, as the compiled look-up computes it."""
    value = 0
    for word in words:
        value = (value ^ word) * HASH_FACTOR & MASK64
        value ^= value >> 32
    return value


class Table(Store, Mapping[Any, Any]):
    """A cell for each key, live.

    A key of one value is that value, one of several a tuple; a part that could not be fetched is
    ``FAULT``.

    Attributes:
        address: Where compiled code finds the head.
    """

    def __init__(
        self,
        cell: Cell,
        key: Packed,
        max_keys: int,
        keep: Callable[[BaseException], object],
    ) -> None:
        """Keep nothing yet.

        Args:
            cell: What is kept for a key.
            key: How keys are laid out.
            max_keys: One more than these is an error.
            keep: Gets what may not leave a callback, and stops the guest.
        """
        self._cell, self._key, self._max_keys, self._keep = cell, key, max_keys, keep
        self._key_words = key.size // 8
        self._entry_words = self._key_words + cell.words
        self._head = new_words(len(TABLE))
        self._callback = _GROW_CALL(self._grow)
        self._head[_GROW] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self._entries: Words
        self._index: Any
        self._make_room(min(_FIRST_ROOM, max_keys))
        self.address = address_of(self._head)

    # -- writing -----------------------------------------------------------------------------------

    def _make_room(self, room: int) -> None:
        used = self._head[_USED]
        entries = new_words(room * self._entry_words)
        if used:
            ctypes.memmove(entries, self._entries, 8 * used * self._entry_words)
        size = 1 << (2 * room - 1).bit_length()
        self._entries, self._index = entries, (ctypes.c_uint32 * size)()
        self._head[_ROOM], self._head[_MASK] = room, size - 1
        self._head[_ENTRIES] = address_of(entries)
        self._head[_INDEX] = ctypes.addressof(self._index)
        for number in range(used):
            self._index[self._place(self._key_at(number))] = number + 1

    def _grow(self) -> None:
        try:
            room = self._head[_ROOM]
            if room < self._max_keys:
                self._make_room(min(2 * room, self._max_keys))
                return
            raise UsageError(
                f"the program has met more than {self._max_keys} different keys: give a larger "
                "max_keys, or a key of fewer values"
            )
        except BaseException as error:
            self._keep(error)

    def _key_at(self, number: int) -> list[int]:
        at = number * self._entry_words
        return self._entries[at : at + self._key_words]

    def _place(self, key: Sequence[int]) -> int:
        """Where in the index ``key`` is, or may be put."""
        mask, index = self._head[_MASK], self._index
        at = hash_words(key) & mask
        while index[at] and self._key_at(index[at] - 1) != key:
            at = at + 1 & mask
        return at

    def add(self, key: Sequence[Any], value: int) -> None:
        """One hit; for programs that are not compiled."""
        words = [*struct.unpack(f"<{self._key_words}Q", self._key.pack(key))]
        at = self._place(words)
        if not self._index[at]:
            if self._head[_USED] == self._head[_ROOM]:
                self._grow()
                if self._head[_USED] == self._head[_ROOM]:
                    self._head[_LOST] += 1
                    return
                at = self._place(words)
            number = self._head[_USED]
            start = number * self._entry_words
            self._entries[start : start + self._key_words] = words
            self._head[_USED] = number + 1
            self._index[at] = number + 1
        start = (self._index[at] - 1) * self._entry_words + self._key_words
        self._cell.add(self._entries, start, value)

    def clear(self) -> None:
        """Begin again, without a key."""
        self._head[_USED] = self._head[_LOST] = 0
        self._make_room(min(_FIRST_ROOM, self._max_keys))

    # -- reading -----------------------------------------------------------------------------------

    @property
    def lost(self) -> int:
        """Hits with a key that there was no room for."""
        return int(self._head[_LOST])

    def __len__(self) -> int:
        return int(self._head[_USED])

    def _key_of(self, number: int) -> Any:
        values = self._key.unpack(self._entries, 8 * number * self._entry_words)
        return values[0] if len(values) == 1 else tuple(values)

    def _read(self, number: int) -> Any:
        return self._cell.read(self._entries, number * self._entry_words + self._key_words)

    def __iter__(self) -> Iterator[Any]:
        return map(self._key_of, range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        for number in range(len(self)):
            if self._key_of(number) == key:
                return self._read(number)
        raise KeyError(key)

    def items(self) -> Any:
        """Pairs of a key and what is kept for it, in the order of their coming."""
        return [(self._key_of(number), self._read(number)) for number in range(len(self))]

    def save(self) -> tuple[int, bytes]:
        return self.lost, ctypes.string_at(self._entries, 8 * len(self) * self._entry_words)

    def load(self, lost: int, data: bytes) -> None:
        size = 8 * self._entry_words
        used = len(data) // size
        if len(data) % size or used > self._max_keys:
            raise ValueError("entries of another size")
        self.clear()
        while self._head[_ROOM] < used:
            self._make_room(min(2 * self._head[_ROOM], self._max_keys))
        ctypes.memmove(self._entries, data, len(data))
        self._head[_USED], self._head[_LOST] = used, lost
        self._make_room(self._head[_ROOM])

    def __repr__(self) -> str:
        return f"<Table of {len(self)} keys>"

    def __str__(self) -> str:
        return "\n".join(f"{key}: {value}" for key, value in self.items())

    def _repr_html_(self) -> str:
        """For a notebook: counts as bars, the largest first; all else as a table."""
        from kprobesim import html

        items, title = self.items(), repr(self)[1:-1]
        if items and all(isinstance(value, int) for _, value in items):
            items.sort(key=lambda item: -item[1])
            return html.bars(title, items, total=len(items))
        return html.table(["key", "value"], items, caption=title, total=len(items))
