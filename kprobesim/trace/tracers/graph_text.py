"""``GraphText``: the text of ``trace`` while function_graph is the tracer.

kernel/trace/trace_functions_graph.c (``print_graph_function_flags()``), 5.10 to 7.3.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator

from kprobesim.trace.buffer import TraceBuffer
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.graph import duration_column
from kprobesim.trace.shown import Shown
from kprobesim.trace.tracers.function_graph import ENTRY, EXIT

__all__ = ["GraphText"]

_RULE = " ------------------------------------------\n"
_NAME, _PROC = 7, 14
_INDENT = "  "
_BLANK = " " * 14
_DEEPEST = 50  # FTRACE_RETFUNC_DEPTH
_MARKER = "ftrace/print"


class GraphText:
    """Shows entries as calls inside of each other.

    Args:
        shown: Names tasks and functions, and has the options.
        interrupts: Where the code of interrupts' entries is, in addresses.
    """

    def __init__(self, shown: Shown, interrupts: range) -> None:
        self._shown = shown
        self._interrupts = interrupts

    def header(self, buffer: TraceBuffer) -> str:
        """What stands above the entries."""
        first, second = "#", "#"
        for option, above, below in (
            ("abstime", "     TIME       ", "      |         "),
            ("cpu", " CPU", " |  "),
            ("proc", "  TASK/PID       ", "   |    |        "),
            ("duration", "  DURATION   ", "   |   |      "),
        ):
            if self._has(option):
                first, second = first + above, second + below
        return (
            f"# tracer: {self._shown.tracer}\n#\n"
            f"{first}               FUNCTION CALLS\n{second}               |   |   |   |\n"
        )

    def lines(self, entries: Iterable[TraceEntry]) -> Iterator[str]:
        """The lines of entries, and those between tasks; some have several."""
        return _Lines(self._shown, self._has, self._interrupts).of(entries)

    def _has(self, option: str) -> bool:
        return f"funcgraph-{option}" in self._shown.options


class _OfCpu:
    """What is remembered of a CPU from one line to the next (``struct fgraph_cpu_data``)."""

    def __init__(self) -> None:
        self.task: TraceEntry | None = None
        self.entered: dict[int, int] = {}
        self.depth = 0
        self.inside: int | None = None  # of an interrupt that is not shown


class _Lines:
    """What is remembered from one line to the next."""

    def __init__(self, shown: Shown, has: Callable[[str], bool], interrupts: range) -> None:
        self._shown, self._has, self._interrupts = shown, has, interrupts
        self._cpus = defaultdict[int, _OfCpu](_OfCpu)
        self._cpu = _OfCpu()
        self._ahead: deque[TraceEntry] = deque()

    def of(self, entries: Iterable[TraceEntry]) -> Iterator[str]:
        """The text of each."""
        rest, ahead = iter(entries), self._ahead
        while (entry := ahead.popleft() if ahead else next(rest, None)) is not None:
            self._cpu = self._cpus[entry.cpu]
            if entry.event == ENTRY:
                leaf = self._next_of_cpu(entry.cpu, rest)
                if leaf is not None and _is_return_of(leaf, entry):
                    ahead.remove(leaf)
                    yield self._call(entry, leaf)
                else:
                    yield self._call(entry, None)
            elif entry.event == EXIT:
                yield self._return(entry)
            else:
                yield self._comment(entry)

    def _next_of_cpu(self, cpu: int, rest: Iterator[TraceEntry]) -> TraceEntry | None:
        """The next entry of a CPU, whatever others do meanwhile; it stays."""
        for entry in self._ahead:
            if entry.cpu == cpu:
                return entry
        for entry in rest:
            self._ahead.append(entry)
            if entry.cpu == cpu:
                return entry
        return None

    def _call(self, entry: TraceEntry, leaf: TraceEntry | None) -> str:
        function, depth = entry.fields["func"], entry.fields["depth"]
        if self._hides(function, depth):
            return ""
        self._cpu.entered[depth] = 0 if leaf else function
        self._cpu.depth = depth - 1 if leaf else depth
        name = self._shown.plain_name(function)
        text = self._prologue(entry) + self._interrupt(entry, function, "==========>")
        text += self._where(entry)
        if leaf is None:
            return text + self._column(None) + f"{_INDENT * depth}{name}() {{\n"
        took = leaf.fields["rettime"] - leaf.fields["calltime"]
        text += self._column(took) + f"{_INDENT * depth}{name}();\n"
        return text + self._interrupt(leaf, function, "<==========")

    def _return(self, entry: TraceEntry) -> str:
        fields = entry.fields
        function, depth = fields["func"], fields["depth"]
        if self._leaves(depth):
            return ""
        matches = self._cpu.entered.pop(depth, 0) == function or depth >= _DEEPEST
        self._cpu.depth = depth - 1
        text = self._prologue(entry) + self._where(entry)
        text += self._column(fields["rettime"] - fields["calltime"]) + f"{_INDENT * depth}}}"
        if not matches or self._has("tail"):
            text += f" /* {self._shown.plain_name(function)} */"
        text += "\n"
        if self._has("overrun"):
            text += f" (Overruns: {fields['overrun']})\n"
        return text + self._interrupt(entry, function, "<==========")

    def _comment(self, entry: TraceEntry) -> str:
        if entry.event == _MARKER:
            said = str(entry.fields["buf"])
        else:
            said = str(entry)[len(self._shown.before(entry)) :]
        text = self._prologue(entry) + self._where(entry) + self._column(None)
        if self._cpu.depth > 0:
            text += _INDENT * (self._cpu.depth + 1)
        return f"{text}/* {said} */\n"

    # -- columns -----------------------------------------------------------------------------------

    def _prologue(self, entry: TraceEntry) -> str:
        """The line where another task goes on."""
        before, self._cpu.task = self._cpu.task, entry
        if before is None or before.pid == entry.pid:
            return ""
        change = f"{self._proc(before)} => {self._proc(entry)}"
        return f"{_RULE} {entry.cpu}) {change}\n{_RULE}\n"

    def _where(self, entry: TraceEntry) -> str:
        text = ""
        if self._has("abstime"):
            seconds, microseconds = divmod((entry.time + 500) // 1000, 1_000_000)
            text += f"{seconds:5}.{microseconds:06} |  "
        if self._has("cpu"):
            text += f" {entry.cpu}) "
        if self._has("proc"):
            text += f"{self._proc(entry)} | "
        return text

    def _proc(self, entry: TraceEntry) -> str:
        text = f"{self._shown.saved_comm(entry.pid)[:_NAME]}-{entry.pid}"
        spaces = max(_PROC - len(text), 0)
        return " " * (spaces // 2) + text + " " * (spaces - spaces // 2)

    def _column(self, took: int | None) -> str:
        if not self._has("duration"):
            return ""
        column = _BLANK if took is None else duration_column(took)
        if took is not None and not self._has("overhead"):
            column = f" {column[1:]}"
        return f"{column}|  "

    # -- interrupts --------------------------------------------------------------------------------

    def _interrupt(self, entry: TraceEntry, function: int, arrow: str) -> str:
        """The line where an interrupt begins, or ends."""
        if function not in self._interrupts:
            return ""
        column = f"  {arrow} |" if self._has("duration") else arrow
        return f"{self._where(entry)}{column}\n"

    def _hides(self, function: int, depth: int) -> bool:
        """Whether a call is not shown, as interrupts are not."""
        if self._has("irqs"):
            return False
        if self._cpu.inside is None and function in self._interrupts:
            self._cpu.inside = depth
        return self._cpu.inside is not None

    def _leaves(self, depth: int) -> bool:
        """The same of a return."""
        if self._has("irqs") or self._cpu.inside is None:
            return False
        if self._cpu.inside >= depth:
            self._cpu.inside = None
        return True


def _is_return_of(entry: TraceEntry, call: TraceEntry) -> bool:
    return (
        entry.event == EXIT
        and entry.pid == call.pid
        and entry.fields["func"] == call.fields["func"]
    )
