"""``CallGraph``: what a function calls and how long all that takes, as function_graph prints it.

The text is that of kernel/trace/trace_functions_graph.c (6.12): a line for each call, ``{`` and
``}`` around those that it makes, and the time in between. Times are the guest's own: in one that is
called a block of instructions takes 8 ns, as long as in one that has booted.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from kprobesim.arch.architecture import architecture
from kprobesim.hexrepr import HexRepr
from kprobesim.html import preformatted
from kprobesim.image import SymbolTable
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.native import SIGNATURE, Native
from kprobesim.trace.entry_names import EntryNames

__all__ = ["CallGraph", "GraphCall", "duration_column", "record_calls"]

_HEADER = (
    "# tracer: function_graph\n"
    "#\n"
    "# CPU  DURATION                  FUNCTION CALLS\n"
    "# |     |   |                     |   |   |   |\n"
)
_MARKS = ((10**9, "$"), (10**8, "@"), (10**7, "*"), (10**6, "#"), (10**5, "!"), (10**4, "+"))
_NO_DURATION = " " * 14
_STACK = 16 << 10  # THREAD_SIZE is a multiple of it
_SITE = 16
"""How far behind a function's first byte its ftrace site is at most: behind a landing pad."""
_THUNKS = ("indirect_thunk", "return_thunk")


@dataclass(eq=False, repr=False)
class GraphCall(HexRepr):
    """One call.

    Attributes:
        function: The symbol.
        address: Where it begins.
        entered: The guest's time then, in nanoseconds.
        left: When it returned; ``None``: it has not.
        calls: What it called, in order.
    """

    function: str
    address: int
    entered: int
    left: int | None = None
    calls: list[GraphCall] = field(default_factory=list)

    @property
    def duration(self) -> int | None:
        """Nanoseconds; ``None`` if it has not returned."""
        return None if self.left is None else self.left - self.entered

    def __repr__(self) -> str:
        return f"<GraphCall {self.function} {self.duration} ns, {len(self.calls)} calls>"

    def as_dict(self) -> dict[str, object]:
        """As plain data, for JSON."""
        return {
            "function": self.function,
            "entered": self.entered,
            "duration": self.duration,
            "calls": [call.as_dict() for call in self.calls],
        }


class CallGraph:
    """The calls of one function, each with all that it called; ``print`` it.

    Attributes:
        roots: The calls of the function itself.
        full: Whether there were more than could be kept.
    """

    def __init__(self) -> None:
        self.roots: list[GraphCall] = []
        self.full = False

    def __iter__(self) -> Iterator[GraphCall]:
        """Each call, in the order in which they began."""
        left = self.roots[::-1]
        while left:
            call = left.pop()
            yield call
            left += call.calls[::-1]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __str__(self) -> str:
        return _HEADER + "".join(self.lines())

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    def lines(self) -> Iterator[str]:
        """The lines of the text, without its head."""
        left: list[tuple[GraphCall, int, bool]] = [(call, 0, False) for call in self.roots[::-1]]
        while left:
            call, depth, ends = left.pop()
            indent = "  " * depth
            if ends:
                yield f" 0) {duration_column(call.duration)}|  {indent}}}\n"
            elif not call.calls and call.left is not None:
                yield f" 0) {duration_column(call.duration)}|  {indent}{call.function}();\n"
            else:
                yield f" 0) {duration_column(None)}|  {indent}{call.function}() {{\n"
                if call.left is not None:
                    left.append((call, depth, True))
                left += [(inner, depth + 1, False) for inner in call.calls[::-1]]


def duration_column(ns: int | None) -> str:
    """The column of 14 characters: print_graphduration_column()."""
    if ns is None:
        return _NO_DURATION
    mark = next((mark for least, mark in _MARKS if ns > least), " ")
    text = str(ns // 1000)
    if len(text) < 7:
        text += f".{ns % 1000:03}"[: max(8 - len(text), 1)]
    return f"{mark} {text} us {' ' * (8 - len(text))}"


class _Recorder:
    """Hears of each block while calls are recorded."""

    def __init__(
        self,
        system: System,
        roots: Iterable[int],
        symbols: SymbolTable,
        most: int,
        deepest: int,
        sites: Iterable[int] | None,
    ) -> None:
        abi = architecture(system.arch).abi
        self.graph = CallGraph()
        self._system = system
        self._roots = frozenset(roots)
        self._most = most
        self._deepest = deepest
        self._count = 0
        self._names = EntryNames(symbols, _THUNKS)
        self._sites = None if sites is None else sorted(sites)
        self._open: list[tuple[int, int, GraphCall]] = []  # return address, stack pointer then
        self._sp = abi.number(abi.stack_pointer)
        self._link = None if abi.link_register is None else abi.number(abi.link_register)
        self._pushed = abi.return_bytes
        self._stack = -1
        self._now: Callable[[], int] = system.stopwatch.now
        thunk = SIGNATURE(self._block)
        self.native = Native(ctypes.cast(thunk, ctypes.c_void_p).value or 0, 0, thunk)

    def _block(self, _uc: object, address: int, _size: object, _data: object) -> None:
        try:
            if self._open:
                self._inside(address)
            elif address in self._roots:
                self._enter(address)
        except BaseException as error:  # nothing may leave a C callback
            self._system.engine.hooks.keep(error)

    def _inside(self, address: int) -> None:
        sp = int(self._system.words[self._sp])
        if (sp - 1) // _STACK != self._stack:
            return  # another task, or an interrupt
        returns_to, sp_after, _ = self._open[-1]
        if address == returns_to and sp == sp_after:
            now = self._now()
            while self._open and self._open[-1][:2] == (returns_to, sp_after):
                self._open.pop()[2].left = now
            return
        if self._names.at(address) is not None and self._is_shown(address):
            self._enter(address)
        elif sp > sp_after:
            self._unwind(sp)

    def _is_shown(self, address: int) -> bool:
        """Whether ftrace would show the function, if only those are wanted."""
        sites = self._sites
        if sites is None:
            return True
        at = bisect_left(sites, address)
        return at < len(sites) and sites[at] - address < _SITE

    def _unwind(self, sp: int) -> None:
        """Frames that were left without a return that was seen."""
        while self._open and sp > self._open[-1][1]:
            self._open.pop()

    def _enter(self, address: int) -> None:
        system = self._system
        sp = int(system.words[self._sp])
        if not self._open:
            self._stack = (sp - 1) // _STACK
        if len(self._open) >= self._deepest:
            return
        if self._count >= self._most:
            self.graph.full = True
            return
        self._count += 1
        link = self._link
        returns_to = system.cpu.read_u64(sp) if link is None else int(system.words[link])
        name = self._names.at(address) or f"{address:#x}"
        call = GraphCall(name, address, self._now())
        siblings = self._open[-1][2].calls if self._open else self.graph.roots
        siblings.append(call)
        self._open.append((returns_to, sp + self._pushed, call))


def record_calls(
    system: System,
    roots: Iterable[int],
    symbols: SymbolTable,
    run: Callable[[], object],
    *,
    most: int = 1_000_000,
    deepest: int = 1000,
    sites: Iterable[int] | None = None,
) -> CallGraph:
    """Record what functions call while something runs.

    Args:
        system: The guest.
        roots: Where the functions begin.
        symbols: The kernel's.
        run: Lets the guest run; what it raises is raised here.
        most: How many calls are kept.
        deepest: How many calls inside of each other are.
        sites: Where ftrace's calls stand: functions without one are left out, but for the roots;
            ``None``: none is.

    Returns:
        The calls; those of other tasks and of interrupts are left out.
    """
    recorder = _Recorder(system, roots, symbols, most, deepest, sites)
    dispatch = system.engine.dispatch
    dispatch.every_block(recorder.native)
    try:
        run()
    finally:
        dispatch.no_longer(recorder.native)
    return recorder.graph
