"""``trace``, ``trace_pipe`` and the ring buffer behind them (kernel/trace/trace.c, 6.12)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from itertools import islice

from kprobesim.trace.buffer import TraceBuffer
from kprobesim.trace.cpu_buffer import CpuBuffer
from kprobesim.trace.files.node import File, OpenFile, Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.trace_array import TraceArray

__all__ = ["Buffer", "TraceFile", "TracePipe", "text_of"]

_LINES = 500  # in a piece of text
_PAGE = 4096 - 16  # what a page of the buffer holds behind its header
_LEAST = 2  # pages: so many it has before the first event is enabled


def text_of(
    tracing: TraceArray, buffer: TraceBuffer, part: CpuBuffer | None = None
) -> Iterator[str]:
    """The text of a buffer, in pieces: what stands above the entries, and a line for each.

    Of one CPU's ``part`` only the entries, if one is given.
    """
    entries = iter(buffer if part is None else part)
    yield tracing.view.header(buffer)
    lines = tracing.view.lines(entries)
    while some := "".join(islice(lines, _LINES)):
        yield some


class TraceFile(File):
    """``trace``: all that is in the buffer, which stays there; ``>`` empties it.

    Args:
        tracing: Whose buffer it is.
        part: The part of one CPU, if only that is meant.
    """

    mode = 0o640

    def __init__(self, tracing: TraceArray, part: CpuBuffer | None = None) -> None:
        self._tracing, self._part = tracing, part

    def chunks(self) -> Iterator[str]:
        """See :meth:`File.chunks`."""
        return text_of(self._tracing, self._tracing.buffer, self._part)

    def truncate(self) -> None:
        """See :meth:`File.truncate`."""
        (self._part or self._tracing.buffer).clear()

    def store(self, data: bytes) -> int:
        """Nothing happens, as in the kernel: it was opening that emptied it."""
        return len(data)


class TracePipe(File):
    """``trace_pipe``: what is read is gone from the buffer; who finds it empty waits (EAGAIN).

    Args:
        tracing: Whose buffer it is.
        part: The part of one CPU, if only that is meant.
    """

    def __init__(self, tracing: TraceArray, part: CpuBuffer | None = None) -> None:
        self._tracing, self._part = tracing, part

    def open(self, flags: int) -> OpenFile:
        """See :meth:`File.open`."""
        return _OpenPipe(self, flags)

    def take(self) -> bytes:
        """Some of the lines that are there, which are there no longer."""
        buffer = self._part or self._tracing.buffer
        lines = ""
        for of_cpu in buffer.cpus:
            lost = of_cpu.lost()
            lines += f"CPU:{of_cpu.number} [LOST {lost} EVENTS]\n" if lost else ""
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
        """``buffer_size_kb``: that of each CPU, if all have the same."""
        return Setting(self._size, partial(self._resize, self._tracing.buffer))

    def cpu_size_file(self, part: CpuBuffer) -> File:
        """The same of one CPU."""

        def size() -> str:
            return f"{_in_pages(part.kb or 0) if self._expanded else _in_pages(0)}\n"

        def resize(text: str) -> None:
            if not self._expanded:  # the others stay as small as they are
                for other in self._tracing.buffer.cpus:
                    other.kb = _in_pages(0)
            self._resize(part, text)

        return Setting(size, resize)

    def _size(self) -> str:
        sizes = {part.kb or 0 for part in self._tracing.buffer.cpus}
        return self._text(1, *sizes) if len(sizes) == 1 else "X\n"

    def total(self) -> str:
        """The text of ``buffer_total_size_kb``."""
        parts = self._tracing.buffer.cpus
        return self._text(len(parts), *(part.kb or 0 for part in parts))

    def _text(self, count: int, *wanted: int) -> str:
        if self._expanded:
            return f"{sum(map(_in_pages, wanted))}\n"
        return f"{count * _in_pages(0)} (expanded: {sum(wanted)})\n"

    def _resize(self, buffer: TraceBuffer | CpuBuffer, text: str) -> None:
        kb = number_of(text)
        if not kb:
            raise refusal(errno.EINVAL, "a buffer has at least 1 KiB")
        buffer.kb = kb
        self.expand()

    def switch_file(self) -> File:
        """``tracing_on``."""

        def switch(text: str) -> None:
            self._tracing.on = number_of(text) != 0

        return Setting(lambda: f"{int(self._tracing.on)}\n", switch)

    def stats(self, buffer: CpuBuffer) -> str:
        """The text of ``stats`` of one CPU."""
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
