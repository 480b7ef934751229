"""``Ring``: the records of a program, in the order of their coming, as named tuples or an array.

Compiled code appends to a buffer of fixed size. When that is full it calls back: Python takes the
records out and none is lost; or, if the ring is to drop, new ones are counted and forgotten.
"""

from __future__ import annotations

import ctypes
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from kprobesim.extras import needed
from kprobesim.programs.actions import Record
from kprobesim.programs.stores.layout import Packed
from kprobesim.programs.stores.store import Store
from kprobesim.programs.stores.words import address_of, new_words

__all__ = ["RING", "Ring"]

RING = ("used", "room", "lost", "buffer", "drain")
"""The words of a ring's head: records in the buffer and room for them, records that were dropped;
the address of the buffer; the C function that empties it, or 0."""

_USED, _ROOM, _LOST, _BUFFER, _DRAIN = range(len(RING))
_DRAIN_CALL = ctypes.CFUNCTYPE(None)


class Ring(Store, Sequence[Any]):
    """Records, live: the oldest first, those that were drained and those in the buffer.

    Attributes:
        address: Where compiled code finds the head.
        record: The class of the named tuples.
    """

    def __init__(
        self, action: Record, layout: Packed, keep: Callable[[BaseException], object]
    ) -> None:
        """Keep nothing yet.

        Args:
            action: What is recorded.
            layout: How a record's values are laid out.
            keep: Gets what may not leave a callback, and stops the guest.
        """
        self._layout, self._keep = layout, keep
        names = [name for name, _ in action.fields]
        self.record: Any = namedtuple(action.name, names)  # type: ignore[misc]
        self._drained: list[bytes] = []
        self._buffer = new_words(action.capacity * layout.size // 8)
        self._head = new_words(len(RING))
        self._head[_ROOM], self._head[_BUFFER] = action.capacity, address_of(self._buffer)
        self._callback = _DRAIN_CALL(self._drain)
        if action.full == "drain":
            self._head[_DRAIN] = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self.address = address_of(self._head)

    # -- writing -----------------------------------------------------------------------------------

    def _take(self) -> bytes:
        """The buffer's records; it has none now."""
        size = self._head[_USED] * self._layout.size
        self._head[_USED] = 0
        return ctypes.string_at(self._buffer, size)

    def _drain(self) -> None:
        try:
            self._drained.append(self._take())
        except BaseException as error:
            self._keep(error)

    def append(self, values: Sequence[Any]) -> None:
        """One record; for programs that are not compiled."""
        head = self._head
        if head[_USED] == head[_ROOM]:
            if head[_DRAIN]:
                self._drain()
            if head[_USED] == head[_ROOM]:
                head[_LOST] += 1
                return
        at = address_of(self._buffer) + head[_USED] * self._layout.size
        ctypes.memmove(at, self._layout.pack(values), self._layout.size)
        head[_USED] += 1

    def clear(self) -> None:
        """Forget all records."""
        self._head[_USED] = self._head[_LOST] = 0
        self._drained.clear()

    # -- reading -----------------------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        """How many records the buffer has room for."""
        return int(self._head[_ROOM])

    @property
    def lost(self) -> int:
        """Records that were dropped because the ring was full."""
        return int(self._head[_LOST])

    def __len__(self) -> int:
        drained = sum(map(len, self._drained)) // self._layout.size
        return int(drained + self._head[_USED])

    def _joined(self) -> Any:
        """All records as one piece of memory: the buffer, or what was drained before joined once.

        As long as nothing is drained it is the buffer itself.
        """
        if not self._drained:
            size = self._head[_USED] * self._layout.size
            return memoryview(self._buffer).cast("B")[:size]
        if len(self._drained) > 1 or self._head[_USED]:
            self._drained = [b"".join([*self._drained, self._take()])]
        return self._drained[0]

    def __iter__(self) -> Iterator[Any]:
        # Who runs the guest meanwhile may have it drained, and the buffer filled anew.
        data, make = bytes(self._joined()), self.record._make
        for at in range(0, len(data), self._layout.size):
            yield make(self._layout.unpack(data, at))

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        places = range(len(self))[index]
        data, size = self._joined(), self._layout.size
        if isinstance(places, range):
            return [self.record._make(self._layout.unpack(data, n * size)) for n in places]
        return self.record._make(self._layout.unpack(data, places * size))

    def to_numpy(self) -> Any:
        """All records as a structured ``numpy`` array, without copying them.

        While they are in the ring's buffer it is a view of that: what comes later may overwrite it
        once the ring is drained or cleared. Records that were drained are joined once. Where a
        value could not be fetched, the bit of its field is set in "_faults".

        Raises:
            UsageError: ``numpy`` is not installed.
        """
        numpy = needed("numpy", "jit")
        return numpy.frombuffer(self._joined(), dtype=self._layout.dtype(self.record._fields))

    def save(self) -> tuple[int, bytes]:
        return self.lost, bytes(self._joined())

    def load(self, lost: int, data: bytes) -> None:
        used, rest = divmod(len(data), self._layout.size)
        if rest:
            raise ValueError("records of another size")
        self.clear()
        self._head[_LOST] = lost
        if used > self.capacity:
            self._drained.append(data)
        else:
            ctypes.memmove(self._buffer, data, len(data))
            self._head[_USED] = used

    def _repr_html_(self) -> str:
        """For a notebook: the first records."""
        from kprobesim import html

        title = repr(self)[1:-1]
        return html.table(self.record._fields, self, caption=title, total=len(self))

    def __repr__(self) -> str:
        return f"<Ring of {len(self)} {self.record.__name__} records, {self.lost} lost>"
