"""What may be said about the ring buffer: its CPUs, when it wakes readers, and to give it up.

tracing_cpumask_write(), tracing_free_buffer_release() and buffer_percent_write() of
kernel/trace/trace.c (6.12).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from kprobesim.trace.files.node import File, OpenFile, ReadOnly, Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.trace_array import TraceArray

__all__ = ["FreeBuffer", "buffer_settings"]

_PERCENT = 50
_MOST_PERCENT = 100
_BITS_OF_DIGIT = 4


class FreeBuffer(File):
    """``free_buffer``: whoever has opened it gives the buffer up when closing it."""

    mode = 0o200

    def __init__(self, tracing: TraceArray) -> None:
        self._tracing = tracing

    def store(self, data: bytes) -> int:
        """Nothing happens, as in the kernel."""
        return len(data)

    def open(self, flags: int) -> OpenFile:
        """See :meth:`File.open`."""
        return _Closing(self, flags, self._free)

    def _free(self) -> None:
        tracing = self._tracing
        if "disable_on_free" in tracing.options:
            tracing.on = False
        tracing.buffer.kb = 0


class _Closing(OpenFile):
    """Does something when it is closed."""

    def __init__(self, file: File, flags: int, closed: Callable[[], None]) -> None:
        super().__init__(file, flags)
        self._closed = closed

    def close(self) -> None:
        """See :meth:`OpenFile.close`."""
        super().close()
        self._closed()


def buffer_settings(tracing: TraceArray, cpu_bits: int) -> dict[str, File]:
    """The files, by name; ``cpu_bits``: how many CPUs a mask may name."""
    percent = [_PERCENT]

    def wake(text: str) -> None:
        value = number_of(text)
        if value > _MOST_PERCENT:
            raise refusal(errno.EINVAL, f"{value} is no part of a hundred")
        percent[0] = value

    def choose(text: str) -> None:
        mask = _mask_of(text)
        if mask >> cpu_bits:
            raise refusal(errno.EOVERFLOW, f"{text.strip()!r} names CPUs that cannot be")
        tracing.cpus = mask & (1 << len(tracing.buffer.cpus)) - 1

    def chosen() -> str:
        digits = -(-len(tracing.buffer.cpus) // _BITS_OF_DIGIT)
        return f"{tracing.cpus:0{digits}x}\n"

    return {
        "buffer_percent": Setting(lambda: f"{percent[0]}\n", wake),
        "free_buffer": FreeBuffer(tracing),
        "timestamp_mode": ReadOnly(lambda: "[delta] absolute\n"),
        "tracing_cpumask": Setting(chosen, choose),
    }


def _mask_of(text: str) -> int:
    """A mask of CPUs, as bitmap_parse() reads it: hexadecimal, 32 bits between two commas."""
    mask = 0
    for part in text.strip().split(","):
        try:
            value = int(part or "0", 16)
        except ValueError:
            raise refusal(errno.EINVAL, f"{text.strip()!r} is no mask of CPUs") from None
        if value >> 32 or value < 0:
            raise refusal(errno.EOVERFLOW, f"{part} has more than 32 bits")
        mask = mask << 32 | value
    return mask
