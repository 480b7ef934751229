"""``RawPage``: a page of the kernel's ring buffer, as ``trace_pipe_raw`` gives it.

kernel/trace/ring_buffer.c, 5.10 to 7.3 (``rb_update_event()``, ``ring_buffer_read_page()``,
``ring_buffer_print_page_header()``, ``ring_buffer_print_entry_header()``).
"""

from __future__ import annotations

import struct

from kprobesim.image import KernelImage
from kprobesim.sizes import PAGE
from kprobesim.trace.image_texts import kernel_text
from kprobesim.trace.pages import event_bytes
from kprobesim.trace.raw.ftrace_events import char_is_signed

__all__ = ["RawPage", "header_event", "header_page"]

_HEAD = struct.Struct("<QQ")  # time stamp and commit
_ROOM = PAGE - _HEAD.size
_ALIGNED = 4  # RB_ALIGNMENT
_TIME_BITS = 27
_LARGE, _EXTEND = 0, 30  # types of events: one with its length behind it, one that only tells time
_MOST_TYPE_LEN = 28
_OVERWRITE_IS_CHAR = b"\tfield: char overwrite;"  # since 6.15 or so
_MISSED_EVENTS, _MISSED_STORED = 1 << 31, 1 << 30


class RawPage:
    """A page to which records are added; the first one's time is that of the page."""

    def __init__(self, missed: int = 0) -> None:
        """Empty.

        Args:
            missed: How many entries were given up before its first one.
        """
        self._missed = missed
        self._data = bytearray()
        self._first = self._last = 0

    def __len__(self) -> int:
        """Bytes of its events."""
        return len(self._data)

    def add(self, record: bytes, time: int) -> bool:
        """Add one; tells whether it had room, which one always has on an empty page.

        Args:
            record: Its bytes.
            time: Nanoseconds.
        """
        if not self._data:
            self._first = self._last = time
        delta = max(time - self._last, 0)
        event = b""
        if delta >> _TIME_BITS:
            event = _head(_EXTEND, delta) + (delta >> _TIME_BITS).to_bytes(4, "little")
            delta = 0
        length = -(-len(record) // _ALIGNED) * _ALIGNED
        if length <= _MOST_TYPE_LEN * _ALIGNED:
            event += _head(length // _ALIGNED, delta)
        else:
            event += _head(_LARGE, delta) + (length + 4).to_bytes(4, "little")
        event += record.ljust(length, b"\0")
        if self._data and len(self._data) + len(event) > _ROOM:
            return False
        self._data += event
        self._last = time
        return True

    @staticmethod
    def fits(record: bytes) -> bool:
        """Whether a record has room on any page."""
        return event_bytes(len(record)) <= _ROOM

    def __bytes__(self) -> bytes:
        commit, data = len(self._data), bytes(self._data)
        if self._missed:
            commit |= _MISSED_EVENTS
            if len(data) + 8 <= _ROOM:
                commit |= _MISSED_STORED
                data += self._missed.to_bytes(8, "little")
        return _HEAD.pack(self._first, commit) + data.ljust(_ROOM, b"\0")


def _head(type_len: int, delta: int) -> bytes:
    return (type_len | (delta & (1 << _TIME_BITS) - 1) << 5).to_bytes(4, "little")


def header_page(image: KernelImage) -> str:
    """The text of ``events/header_page``."""
    char = int(char_is_signed(image))
    text = kernel_text(image, _OVERWRITE_IS_CHAR)
    overwrite, signed = ("int", 1) if text is None else ("char", char)
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
        f"\tfield: {overwrite} overwrite;\toffset:8;\tsize:1;\tsigned:{signed};\n"
        f"\tfield: char data;\toffset:{_HEAD.size};\tsize:{_ROOM};\tsigned:{char};\n"
    )


def header_event() -> str:
    """The text of ``events/header_event``."""
    return (
        "# compressed entry header\n"
        "\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
        "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n"
        f"\tdata max type_len  == {_MOST_TYPE_LEN}\n"
    )
