"""``snapshot``: entries set aside (tracing_snapshot_write() of kernel/trace/trace.c, 6.12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kprobesim.image import KernelImage
from kprobesim.trace.files.node import Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.output import text_of
from kprobesim.trace.image_texts import kernel_text
from kprobesim.trace.trace_array import TraceArray

__all__ = ["SnapshotFile"]

_HELP = b"# echo 0 > snapshot : "
_FREE, _TAKE = 0, 1


class SnapshotFile(Setting):
    """The file: 1 exchanges the buffer's entries for those set aside, 0 and others forget these.

    Args:
        image: The kernel's, which has the words for an empty one.
        tracing: Its tracing.
        expand: Is called first: the buffers get their size.
    """

    def __init__(
        self, image: KernelImage, tracing: TraceArray, expand: Callable[[], object]
    ) -> None:
        super().__init__(self._show, self._do)
        self._image = image
        self._tracing = tracing
        self._expand = expand
        self._allocated = False

    def _show(self) -> Iterator[str]:
        taken = self._tracing.snapshot
        if len(taken):
            yield from text_of(self._tracing, taken)
            return
        state = "allocated" if self._allocated else "freed"
        yield f"# tracer: nop\n#\n#\n# * Snapshot is {state} *\n#\n# Snapshot commands:\n"
        yield kernel_text(self._image, _HELP) or ""

    def _do(self, written: str) -> None:
        self._expand()
        what = number_of(written)
        if what == _TAKE:
            self._allocated = True
            self._tracing.take_snapshot()
        else:
            self._tracing.snapshot.clear()
            self._allocated = self._allocated and what != _FREE
