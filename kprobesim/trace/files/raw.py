"""``trace_pipe_raw``: the pages of the buffer as they are (tracing_buffers_read(), trace.c).

A page that is given is full, or has all that is there; what is read is gone from the buffer.
"""

from __future__ import annotations

import errno

from kprobesim.sizes import PAGE
from kprobesim.trace.cpu_buffer import CpuBuffer
from kprobesim.trace.files.node import File, OpenFile
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.raw.pages import RawPage
from kprobesim.trace.raw.records import Records

__all__ = ["TracePipeRaw"]


class TracePipeRaw(File):
    """The file.

    Args:
        buffer: What is read.
        records: Makes the bytes of its entries.
    """

    def __init__(self, buffer: CpuBuffer, records: Records) -> None:
        self._buffer = buffer
        self._records = records

    def open(self, flags: int) -> OpenFile:
        """See :meth:`File.open`."""
        return _OpenRaw(self, flags)

    def take(self) -> bytes:
        """The next page, whose entries are gone then; nothing where there are none."""
        buffer = self._buffer
        if buffer.first() is None:
            return b""
        page = RawPage(buffer.lost())
        while (entry := buffer.first()) is not None:
            record = self._records.pack(entry)
            if record is not None and page.fits(record) and not page.add(record, entry.time):
                break
            buffer.take()
        return bytes(page) if len(page) else b""


class _OpenRaw(OpenFile):
    """Has no place to seek to."""

    def __init__(self, pipe: TracePipeRaw, flags: int) -> None:
        super().__init__(pipe, flags)
        self._pipe = pipe
        self._left = b""

    def read(self, size: int, offset: int) -> bytes:
        """See :meth:`OpenFile.read`; raises ``OSError`` (EAGAIN) where nothing is."""
        if not self._left:
            pages: list[bytes] = []
            while len(pages) < max(size // PAGE, 1) and (page := self._pipe.take()):
                pages.append(page)
            self._left = b"".join(pages)
        if not self._left:
            raise refusal(errno.EAGAIN)
        data, self._left = self._left[:size], self._left[size:]
        return data
