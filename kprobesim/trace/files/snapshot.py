"""``snapshot``: entries set aside (tracing_snapshot_write() of kernel/trace/trace.c, 6.12)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from kprobesim.image import KernelImage
from kprobesim.trace.files.node import Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.output import text_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.image_texts import kernel_text
from kprobesim.trace.trace_array import TraceArray

__all__ = ["SnapshotFile"]

_HELP = (b"# echo 0 > snapshot : Clears",)
_CPU_HELP = (
    b"# echo 0 > snapshot : Invalid",
    b"# echo 1 > snapshot : Not supported",
    b"# echo 2 > snapshot : Clears this cpu",
)
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

    def of_cpu(self, number: int) -> Setting:
        """The file of one CPU: it shows what was set aside of that, and may forget it."""

        def do(written: str) -> None:
            self._expand()
            if number_of(written) in (_FREE, _TAKE):  # without CONFIG_RING_BUFFER_ALLOW_SWAP
                raise refusal(errno.EINVAL, "only the main snapshot can be taken and freed")
            self._tracing.snapshot.cpus[number].clear()

        return Setting(lambda: self._show(number), do)

    def _show(self, cpu: int | None = None) -> Iterator[str]:
        taken = self._tracing.snapshot
        part = None if cpu is None else taken.cpus[cpu]
        if len(taken if part is None else part):
            yield from text_of(self._tracing, taken, part)
            return
        state = "allocated" if self._allocated else "freed"
        yield f"# tracer: nop\n#\n#\n# * Snapshot is {state} *\n#\n# Snapshot commands:\n"
        for words in _HELP if part is None else _CPU_HELP:
            yield kernel_text(self._image, words) or ""

    def _do(self, written: str) -> None:
        self._expand()
        what = number_of(written)
        if what == _TAKE:
            self._allocated = True
            self._tracing.take_snapshot()
        else:
            self._tracing.snapshot.clear()
            self._allocated = self._allocated and what != _FREE
