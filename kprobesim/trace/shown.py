"""``Shown``: how the entries of a trace are shown, whatever has recorded them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from kprobesim.image import KernelImage
from kprobesim.trace.buffer import TraceBuffer
from kprobesim.trace.columns import Columns
from kprobesim.trace.context import ContextOf, Way
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.names import Names
from kprobesim.trace.saved_cmdlines import SavedCmdlines

__all__ = ["Shown", "View"]


class View(Protocol):
    """How the whole text of a trace is made."""

    def header(self, buffer: TraceBuffer) -> str:
        """What stands above the entries of a buffer."""

    def lines(self, entries: Iterable[TraceEntry]) -> Iterator[str]:
        """The lines of entries."""


class Shown:
    """What the texts of one trace's entries have in common.

    Attributes:
        options: The options that are on, of those that change what is recorded or shown.
        tracer: The tracer that is chosen.
        online: How many CPUs are switched on.
        name: Names addresses.
    """

    def __init__(
        self, image: KernelImage, name: Names, saved: SavedCmdlines, context: ContextOf | None
    ) -> None:
        """As a kernel shows them that has just started.

        Args:
            image: What runs.
            name: Names addresses.
            saved: The names of tasks.
            context: Tells in which context; ``None``: in none.
        """
        self.options = {"irq-info", "print-parent"}
        self.tracer = "nop"
        self.online: Callable[[], int] = lambda: 1
        self.name = name
        self._columns = Columns(image.version)
        self._saved, self._context = saved, context

    def before(self, entry: TraceEntry) -> str:
        """The columns of an entry, with the name of its task that was saved last."""
        return self._columns.before(
            entry,
            self._saved.get(entry.pid, entry.comm),
            irq_info="irq-info" in self.options,
            tgid="record-tgid" in self.options,
        )

    def header(self, buffer: TraceBuffer) -> str:
        """What stands above the entries of a buffer."""
        return self._columns.header(
            self.tracer,
            len(buffer),
            buffer.written,
            cpus=self.online(),
            irq_info="irq-info" in self.options,
            tgid="record-tgid" in self.options,
        )

    def lines(self, entries: Iterable[TraceEntry]) -> Iterator[str]:
        """The lines of entries."""
        for entry in entries:
            yield f"{entry}\n"

    def saved_comm(self, pid: int) -> str:
        """The name of a task, as far as it was saved."""
        return self._saved[pid]

    def context_of_call(self, word: int) -> tuple[int, int]:
        """``common_flags`` and ``common_preempt_count`` of a traced call, by its "context"."""
        return (0, 0) if self._context is None else self._context.at(word, Way.CALL)

    def plain_name(self, address: int) -> str:
        """The function at an address, as tracers show it; with the option ``sym-offset`` where."""
        name = self.name(address)
        if "sym-offset" in self.options:
            return name
        function, _, behind = name.partition("+")
        _, bracket, module = behind.partition(" [")
        return function + bracket + module
