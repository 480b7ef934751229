"""``Stream``: entries of many programs in one memory, in the order of their coming.

An entry is a word with the number of whoever wrote it and its size, then the numbers of its fields
side by side, then its strings, each as long as it is. Compiled code appends; when the memory is
full it calls back, and Python takes all out.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kprobesim.programs.fault import FAULT
from kprobesim.programs.stores.layout import Packed
from kprobesim.programs.stores.words import Words, address_of, new_words
from kprobesim.programs.types import Int, Str
from kprobesim.programs.values import Value

__all__ = ["HEADER", "OUTLET", "STREAM", "EntryLayout", "Outlet", "Stream"]

STREAM = ("used", "room", "on", "since", "buffer", "drain")
"""The words of a stream's head: bytes in use and room for them; whether anything is written;
whether entries came since somebody set that to 0; where the bytes are; the C function that empties
them."""
OUTLET = ("number", "on")
"""The words of a program that writes: its number there, and whether it writes anything."""
HEADER = 8
"""Bytes before an entry's fields: its number and its size, 32 bits each."""

_USED, _ROOM, _ON, _SINCE, _BUFFER, _DRAIN = range(len(STREAM))
_OUTLET_ON = OUTLET.index("on")
_DRAIN_CALL = ctypes.CFUNCTYPE(None)
_HEADER = struct.Struct("<II")
_LENGTH = Int(32, signed=True)
_CAPACITY = 1 << 20
_SPARE = 64  # emptied buffers that are kept: memory that is there already is written twice as fast


class EntryLayout:
    """How the fields of an entry lie.

    Attributes:
        numbers: The part of fixed size; a string has its length there, -1 for a fault.
        most: Bytes that an entry may take.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = tuple(values)
        kinds = [_LENGTH if isinstance(v.type, Str) else v.type for v in self.values]
        fallible = any(v.fallible for v in self.values if isinstance(v.type, Int))
        self.numbers = Packed(kinds, fallible=fallible)
        strings = [v.type.size for v in self.values if isinstance(v.type, Str)]
        self.most = HEADER + self.numbers.size + sum(strings)
        self._strings = tuple(n for n, v in enumerate(self.values) if isinstance(v.type, Str))

    def pack(self, number: int, values: Sequence[Any]) -> bytes:
        """The entry; a string is bytes or ``FAULT``."""
        flat, tail = list(values), b""
        for n in self._strings:
            text = values[n]
            flat[n] = -1 if text is FAULT else len(text)
            if text is not FAULT:
                tail += text + bytes(-len(text) % 8)
        body = self.numbers.pack(flat) + tail
        return number.to_bytes(4, "little") + (HEADER + len(body)).to_bytes(4, "little") + body

    def unpack(self, data: memoryview, at: int) -> list[Any]:
        """The values of the entry that begins at ``at``; strings as bytes."""
        values = self.numbers.unpack(data, at + HEADER)
        tail = at + HEADER + self.numbers.size
        for n in self._strings:
            length = values[n]
            if length < 0:
                values[n] = FAULT
            else:
                values[n] = bytes(data[tail : tail + length]).split(b"\0", 1)[0]
                tail += -(-length // 8) * 8
        return values


class Stream:
    """The memory, and who writes to it by number.

    Attributes:
        address: Where compiled code finds the head.
    """

    def __init__(self, keep: Callable[[BaseException], object]) -> None:
        """Nothing is there yet.

        Args:
            keep: Gets what may not leave a callback, and stops the guest.
        """
        self._keep = keep
        self._layouts: list[EntryLayout] = []
        self._full: list[tuple[Words, int]] = []
        self._spare: list[Words] = []
        self._head = new_words(len(STREAM))
        self._callback = _DRAIN_CALL(self._drain)
        self._head[_DRAIN] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self._head[_ON] = 1
        self._make_room(_CAPACITY)
        self.address = address_of(self._head)

    def _make_room(self, size: int) -> None:
        if self._spare and ctypes.sizeof(self._spare[-1]) == size:
            self._buffer = self._spare.pop()
        else:
            self._buffer = new_words(size // 8)
        self._head[_USED] = 0
        self._head[_ROOM], self._head[_BUFFER] = size, address_of(self._buffer)

    def _drain(self) -> None:
        try:
            self._full.append((self._buffer, self._head[_USED]))
            self._make_room(self._head[_ROOM])
        except BaseException as error:
            self._keep(error)

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return bool(self._head[_ON])

    @on.setter
    def on(self, on: bool) -> None:
        self._head[_ON] = on

    def layout(self, number: int) -> EntryLayout:
        """How the entries of that number lie."""
        return self._layouts[number]

    def outlet(self, values: Sequence[Value]) -> Outlet:
        """A way for a program to append entries of ``values``."""
        layout = EntryLayout(values)
        if 2 * layout.most > self._head[_ROOM]:
            self._drain()
            self._spare.clear()
            self._make_room(-(-2 * layout.most // _CAPACITY) * _CAPACITY)
        self._layouts.append(layout)
        return Outlet(self, len(self._layouts) - 1, layout)

    def append(self, number: int, values: Sequence[Any], *, after_others: bool) -> None:
        """One entry; for programs that are not compiled."""
        head = self._head
        if not head[_ON] or (after_others and not head[_SINCE]):
            return
        data = self._layouts[number].pack(number, values)
        if head[_USED] + len(data) > head[_ROOM]:
            self._drain()
        ctypes.memmove(address_of(self._buffer) + head[_USED], data, len(data))
        head[_USED] += len(data)
        head[_SINCE] = not after_others

    def take(self, only: int | None = None) -> Iterator[tuple[int, bytes]]:
        """All entries that were written since the last time: number and bytes of each.

        Args:
            only: The number of those that are wanted; the others are forgotten.
        """
        if self._head[_USED]:
            self._drain()
        full, self._full = self._full, []
        for buffer, used in full:
            data, at = memoryview(buffer).cast("B"), 0
            while at < used:
                number, size = _HEADER.unpack_from(data, at)
                if only is None or number == only:
                    yield number, bytes(data[at : at + size])
                at += size
            if len(self._spare) < _SPARE:
                self._spare.append(buffer)


class Outlet:
    """What one program needs to append to a stream.

    Attributes:
        number: Of its entries.
        layout: How they lie.
        address: Where compiled code finds its :data:`OUTLET`.
    """

    planted: Any = None

    def __init__(self, stream: Stream, number: int, layout: EntryLayout) -> None:
        self.stream = stream
        self.number = number
        self.layout = layout
        self._words = new_words(len(OUTLET))
        self._words[:] = [number, 1]
        self.address = address_of(self._words)

    @property
    def on(self) -> bool:
        """Whether this program's entries are written; to be set, also at a hit."""
        return bool(self._words[_OUTLET_ON])

    @on.setter
    def on(self, on: bool) -> None:
        self._words[_OUTLET_ON] = on

    def append(self, values: Sequence[Any], *, after_others: bool) -> None:
        """One entry; for programs that are not compiled."""
        if self.on:
            self.stream.append(self.number, values, after_others=after_others)

    def save(self) -> tuple[int, bytes]:
        """Nothing: whoever reads the stream keeps what it has read."""
        return 0, b""

    def load(self, lost: int, data: bytes) -> None:
        """Nothing is kept here."""
