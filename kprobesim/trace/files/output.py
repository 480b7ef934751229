"""``trace``, ``trace_pipe`` and the ring buffer behind them (kernel/trace/trace.c, 6.12)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import islice

from kprobesim.trace.buffer import TraceBuffer
from kprobesim.trace.files.node import File, OpenFile, Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.trace_array import TraceArray

__all__ = ["Buffer", "TraceFile", "TracePipe", "text_of"]

_LINES = 500  # in a piece of text
_PAGE = 4096 - 16  # what a page of the buffer holds behind its header
_LEAST = 2  # pages: so many it has before the first event is enabled


def text_of(tracing: TraceArray, buffer: TraceBuffer) -> Iterator[str]:
    """The text of a buffer, in pieces: what stands above the entries, and a line for each."""
    entries = iter(buffer)
    yield tracing.view.header(buffer)
    lines = tracing.view.lines(entries)
    while some := "".join(islice(lines, _LINES)):
        yield some


class TraceFile(File):
    """``trace``: all that is in the buffer, which stays there; ``>`` empties it."""

    mode = 0o640

    def __init__(self, tracing: TraceArray) -> None:
        self._tracing = tracing

    def chunks(self) -> Iterator[str]:
        """See :meth:`File.chunks`."""
        return text_of(self._tracing, self._tracing.buffer)

    def truncate(self) -> None:
        """See :meth:`File.truncate`."""
        self._tracing.buffer.clear()

    def store(self, data: bytes) -> int:
        """Nothing happens, as in the kernel: it was opening that emptied it."""
        return len(data)


class TracePipe(File):
    """``trace_pipe``: what is read is gone from the buffer; who finds it empty waits (EAGAIN)."""

    def __init__(self, tracing: TraceArray) -> None:
        self._tracing = tracing

    def open(self, flags: int) -> OpenFile:
        """See :meth:`File.open`."""
        return _OpenPipe(self, flags)

    def take(self) -> bytes:
        """Some of the lines that are there, which are there no longer."""
        buffer = self._tracing.buffer
        lost = buffer.lost()
        lines = f"CPU:0 [LOST {lost} EVENTS]\n" if lost else ""
        lines += "".join(self._tracing.view.lines(islice(buffer.consume(), _LINES)))
        return lines.encode("utf-8", "surrogateescape")


class _OpenPipe(OpenFile):
    """Has no place to seek to."""

    def __init__(self, pipe: TracePipe, flags: int) -> None:
        super().__init__(pipe, flags)
        self._pipe = pipe
        self._left = b""

    def read(self, size: int, offset: int) -> bytes:
        """See :meth:`OpenFile.read`; raises ``OSError`` (EAGAIN) where nothing is."""
        while len(self._left) < size and (more := self._pipe.take()):
            self._left += more
        if not self._left:
            raise refusal(errno.EAGAIN)
        data, self._left = self._left[:size], self._left[size:]
        return data


class Buffer:
    """The size of the ring buffer, which is small until it is used."""

    def __init__(self, tracing: TraceArray) -> None:
        self._tracing = tracing
        self._expanded = False

    def expand(self) -> None:
        """It is used from now on."""
        self._expanded = True

    def size_file(self) -> File:
        """``buffer_size_kb`` and ``buffer_total_size_kb``, which are the same on one CPU."""
        return Setting(self._size, self._resize)

    def cpu_size_file(self) -> File:
        """That of one CPU."""
        return Setting(lambda: self._size().partition(" ")[0].rstrip("\n") + "\n", self._resize)

    def _size(self) -> str:
        wanted = self._tracing.buffer.kb or 0
        if self._expanded:
            return f"{_in_pages(wanted)}\n"
        return f"{_in_pages(0)} (expanded: {wanted})\n"

    def total(self) -> str:
        """The text of ``buffer_total_size_kb``."""
        return self._size()

    def _resize(self, text: str) -> None:
        kb = number_of(text)
        if not kb:
            raise refusal(errno.EINVAL, "a buffer has at least 1 KiB")
        self._tracing.buffer.kb = kb
        self.expand()

    def switch_file(self) -> File:
        """``tracing_on``."""

        def switch(text: str) -> None:
            self._tracing.on = number_of(text) != 0

        return Setting(lambda: f"{int(self._tracing.on)}\n", switch)

    def stats(self) -> str:
        """The text of ``per_cpu/cpu0/stats``."""
        buffer = self._tracing.buffer
        entries = list(buffer)
        read = buffer.written - buffer.overrun - len(entries)
        oldest = entries[0].time if entries else 0
        return (
            f"entries: {len(entries)}\noverrun: {buffer.overrun}\ncommit overrun: 0\n"
            f"bytes: {buffer.used}\noldest event ts: {_seconds(oldest)}\n"
            f"now ts: {_seconds(self._tracing.now)}\n"
            f"dropped events: {buffer.dropped}\nread events: {read}\n"
        )


def _seconds(nanoseconds: int) -> str:
    """As ``%5llu.%06lu``, rounded as ns2usecs() does."""
    seconds, microseconds = divmod((nanoseconds + 500) // 1000, 1_000_000)
    return f"{seconds:5}.{microseconds:06}"


def _in_pages(kb: int) -> int:
    """How many KiB as many pages hold as ``kb`` KiB need (ring_buffer_size())."""
    return max(-(-kb * 1024 // _PAGE), _LEAST) * _PAGE >> 10
