"""``Stream``: entries of many programs in one memory, in the order of their coming.

How they lie, :mod:`~kprobesim.programs.stores.entry_layout` tells. Compiled code appends; when the
memory is full it calls back, and Python takes all out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from kprobesim.errors import UsageError
from kprobesim.programs.stores.entry_layout import (
    NO_IDS,
    NO_STAMP,
    NUMBER_BITS,
    STAMP,
    STAMP_NUMBER,
    TIME_MASK,
    EntryLayout,
    Stamp,
)
from kprobesim.programs.stores.words import Words, address_of, new_words
from kprobesim.programs.values import Value

__all__ = ["OUTLET", "STREAM", "Outlet", "Stream", "Written"]

STREAM = ("at", "end", "on", "others", "drain", "stamped", "ids", "context", "time")
"""The words of a stream's head: where the next entry goes; where its memory ends, 0 while nothing
is written; whether anything is; whether the CPU that runs has written others since the last one of
the entries that are written only after others; the C function that empties the memory; whether
entries have stamps, and the last one."""
OUTLET = ("number",)
"""The words of a program that writes: its number there, with the highest bit set while it writes
nothing."""

_AT, _END, _ON, _OTHERS, _DRAIN, _STAMPED, _IDS, _CONTEXT, _TIME = range(len(STREAM))
_OFF = 1 << 63
_NUMBER_MASK = (1 << NUMBER_BITS) - 1
_DRAIN_CALL = ctypes.CFUNCTYPE(None)
_SPARE_BYTES = 64 << 20  # of emptied buffers, kept: memory that is there is written twice as fast


class Written(NamedTuple):
    """An entry as it was written.

    Attributes:
        number: Who wrote it.
        data: Where it lies among others.
        at: Where it begins there.
        stamp: Who was running.
        time: When, in nanoseconds.
    """

    number: int
    data: bytes
    at: int
    stamp: Stamp
    time: int


class Stream:
    """The memory, and who writes to it by number.

    Attributes:
        address: Where compiled code finds the head.
        stamped: Whether entries tell when they were written, and who was running.
        capacity: Bytes that are written before Python takes them out; pages that are not written
            take no memory.
    """

    stamped = True
    capacity = 16 << 20

    def __init__(self, keep: Callable[[BaseException], object]) -> None:
        """Nothing is there yet.

        Args:
            keep: Gets what may not leave a callback, and stops the guest.
        """
        self._keep = keep
        self._layouts: list[EntryLayout | None] = [None]  # stamps are nobody's
        self._full: list[tuple[Words, int]] = []
        self._spare: list[Words] = []
        self._head = new_words(len(STREAM))
        self._callback = _DRAIN_CALL(self._drain)
        self._head[_DRAIN] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self._head[_ON] = 1
        self._head[_STAMPED] = self.stamped
        self._make_room(self.capacity)
        self.address = address_of(self._head)

    # -- writing -----------------------------------------------------------------------------------

    def _make_room(self, size: int) -> None:
        """Let new memory follow, which begins with a stamp."""
        head = self._head
        if self._spare and ctypes.sizeof(self._spare[-1]) == size:
            self._buffer = self._spare.pop()
        else:
            self._buffer = new_words(size // 8)
        start = address_of(self._buffer)
        head[_AT], head[_IDS] = start, NO_IDS
        head[_END] = start + size if head[_ON] else 0

    @property
    def _used(self) -> int:
        return int(self._head[_AT]) - address_of(self._buffer)

    def _drain(self) -> None:
        try:
            self._full.append((self._buffer, self._used))
            self._make_room(ctypes.sizeof(self._buffer))
        except BaseException as error:
            self._keep(error)

    @property
    def per_cpu(self) -> Words:
        """What each CPU has a value of its own of: whether it has written others."""
        return (ctypes.c_uint64 * 1).from_buffer(self._head, 8 * _OTHERS)

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return bool(self._head[_ON])

    @on.setter
    def on(self, on: bool) -> None:
        head = self._head
        head[_ON] = on
        head[_END] = address_of(self._buffer) + ctypes.sizeof(self._buffer) if on else 0

    def layout(self, number: int) -> EntryLayout:
        """How the entries of that number lie."""
        layout = self._layouts[number]
        assert layout is not None
        return layout

    def outlet(self, values: Sequence[Value]) -> Outlet:
        """A way for a program to append entries of ``values``.

        Raises:
            UsageError: So many programs have written to it that their numbers have run out.
        """
        number, layout = len(self._layouts), EntryLayout(values)
        if number > _NUMBER_MASK:
            raise UsageError(
                f"{number:,} programs have written to one trace: load the kernel anew, or go on "
                "from a snapshot"
            )
        if 2 * layout.most > ctypes.sizeof(self._buffer):
            self._drain()
            self._spare.clear()
            self._make_room(-(-2 * layout.most // self.capacity) * self.capacity)
        self._layouts.append(layout)
        return Outlet(self, number, layout)

    def append(
        self, number: int, values: Sequence[Any], stamp: Stamp, *, after_others: bool
    ) -> None:
        """One entry; for programs that are not compiled."""
        head = self._head
        if not head[_ON] or (after_others and not head[_OTHERS]):
            return
        data = self.layout(number).pack(stamp.header(number, stamp.now), values)
        if head[_AT] + len(data) + STAMP > head[_END]:
            self._drain()
        if self.stamped:
            self._write_stamp(stamp)
        self._write(data)
        head[_OTHERS] = not after_others

    def _write_stamp(self, stamp: Stamp) -> None:
        """Write it unless it is that of the last entry."""
        head = self._head
        last = Stamp(0, 0, head[_CONTEXT], head[_TIME])
        same = head[_IDS] == stamp.word and last.context == stamp.context
        if not same or not last.covers(stamp.now):
            head[_IDS], head[_CONTEXT], head[_TIME] = stamp.word, stamp.context, stamp.now
            self._write(stamp.pack())

    def _write(self, data: bytes) -> None:
        ctypes.memmove(self._head[_AT], data, len(data))
        self._head[_AT] += len(data)

    # -- reading -----------------------------------------------------------------------------------

    def take(self) -> Iterator[Written]:
        """All entries that were written since the last time."""
        layouts, new = self._layouts, tuple.__new__
        fixed = [0 if one is None or not one.is_fixed else one.least for one in layouts]
        for data in self._chunks():
            words = memoryview(data).cast("Q")
            at, end, stamp, since = 0, len(data), NO_STAMP, 0
            while at < end:
                header = words[at >> 3]
                number = header & _NUMBER_MASK
                if number == STAMP_NUMBER:
                    stamp = Stamp.unpack(data, at)
                    since = stamp.now
                    at += STAMP
                    continue
                time = since + ((header >> NUMBER_BITS) - since & TIME_MASK)
                yield new(Written, (number, data, at, stamp, time))
                at += fixed[number] or self.layout(number).size(data, at)

    def _chunks(self) -> Iterator[bytes]:
        """What was written since the last time, in pieces that begin with a stamp."""
        if self._used:
            self._drain()
        full, self._full = self._full, []
        for buffer, used in full:
            data = ctypes.string_at(address_of(buffer), used)
            if len(self._spare) * ctypes.sizeof(buffer) < _SPARE_BYTES:
                self._spare.append(buffer)
            yield data


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
        self._words[0] = number
        self.address = address_of(self._words)

    @property
    def on(self) -> bool:
        """Whether this program's entries are written; to be set, also at a hit."""
        return not self._words[0] & _OFF

    @on.setter
    def on(self, on: bool) -> None:
        self._words[0] = self.number if on else self.number | _OFF

    def append(self, values: Sequence[Any], stamp: Stamp, *, after_others: bool) -> None:
        """One entry; for programs that are not compiled."""
        if self.on:
            self.stream.append(self.number, values, stamp, after_others=after_others)

    def save(self) -> tuple[int, bytes]:
        """Nothing: whoever reads the stream keeps what it has read."""
        return 0, b""

    def load(self, lost: int, data: bytes) -> None:
        """Nothing is kept here."""
