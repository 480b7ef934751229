"""How much a trace buffer holds: pages of the kernel's ring buffer, the oldest given up first.

include/linux/ring_buffer.h, kernel/trace/ring_buffer.c: a page has a header of 16 bytes, an event
one of 4, and of 8 more where much time has passed since the one before it.
"""

from __future__ import annotations

from collections import deque

__all__ = ["DEFAULT_KB", "Pages", "event_bytes"]

DEFAULT_KB = 1408
"""``TRACE_BUF_SIZE_DEFAULT`` in KiB."""
_PAGE = 4096 - 16
_SMALL = 28 * 4  # RINGBUF_TYPE_DATA_TYPE_LEN_MAX * RB_ALIGNMENT
_TIME_BITS, _EXTEND = 27, 8
_LEAST_PAGES = 2


def event_bytes(data: int) -> int:
    """What an event with ``data`` bytes takes (``rb_calculate_event_length()``)."""
    return (data + (4 if data > _SMALL else 0) + 4 + 3) & ~3


class Pages:
    """The pages of one CPU's buffer, as counts of entries.

    Attributes:
        kb: How much it may hold, in KiB; ``None``: all.
        overwrite: Whether the oldest page is given up for a new one, or new entries are dropped.
    """

    def __init__(self, kb: int | None = DEFAULT_KB, *, overwrite: bool = True) -> None:
        self.kb = kb
        self.overwrite = overwrite
        self._counts: deque[int] = deque()
        self._free = 0
        self._last = 0

    @property
    def _most(self) -> int | None:
        return None if self.kb is None else max(-(-self.kb * 1024 // _PAGE), _LEAST_PAGES)

    @property
    def used(self) -> int:
        """Bytes of all pages but what the last one has left."""
        return _PAGE * len(self._counts) - self._free

    def clear(self) -> None:
        """All are empty."""
        self._counts.clear()
        self._free = 0

    def add(self, data: int, time: int) -> tuple[bool, int]:
        """An entry of ``data`` bytes is written at ``time``, in nanoseconds.

        Returns:
            Whether there is room for it, and how many of the oldest entries are given up.
        """
        size = event_bytes(data)
        if size > _PAGE:
            return False, 0
        if self._counts and time - self._last >> _TIME_BITS:
            size += _EXTEND
        lost = 0
        if size > self._free:
            most = self._most
            if most is not None and len(self._counts) >= most:
                if not self.overwrite:
                    return False, 0
                lost = self._counts.popleft()
            self._counts.append(0)
            self._free, size = _PAGE, event_bytes(data)
        self._free -= size
        self._last = time
        self._counts[-1] += 1
        return True, lost

    def take(self) -> None:
        """The oldest entry has been consumed."""
        if self._counts:
            self._counts[0] -= 1
            if not self._counts[0] and len(self._counts) > 1:
                self._counts.popleft()
