"""``trace_marker``: what is written becomes an entry of the trace (tracing_mark_write(), 6.12)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.files.node import File
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.trace_array import TraceArray

__all__ = ["FUNCTION", "TraceMarker"]

_MOST = 4096 - 128  # bytes of one entry: what fits on a page of the buffer, with what is about it
_HEAD = 16  # struct print_entry, without the text
FUNCTION = "tracing_mark_write"
"""Which function of the kernel writes it."""


class TraceMarker(File):
    """The file; who writes is this process, as no task of the guest does."""

    mode = 0o220

    def __init__(self, tracing: TraceArray) -> None:
        self._tracing = tracing

    def store(self, data: bytes) -> int:
        """See :meth:`File.store`."""
        tracing = self._tracing
        if "markers" not in tracing.options:
            raise refusal(errno.EINVAL, "the option markers is off")
        if not tracing.on:
            raise refusal(errno.EBADF, "tracing is off")
        data = data[:_MOST]
        text = data.decode("utf-8", "surrogateescape").removesuffix("\n")

        def show(entry: TraceEntry) -> str:
            return tracing.shown.before(entry) + f"{FUNCTION}: {text}"

        entry = TraceEntry(
            time=tracing.now,
            cpu=tracing.cpu,
            pid=os.getpid(),
            tgid=os.getpid(),
            comm=Path("/proc/self/comm").read_text().rstrip("\n"),
            flags=0,
            preempt_count=0,
            event="ftrace/print",
            ip=0,
            func=None,
            fields={"buf": text},
            show=show,
        )
        tracing.buffer.append(entry, _HEAD + len(data) + 1)
        return len(data)
