"""``Tracers``: which tracer traces the functions of one kernel, and which of them.

tracing_set_tracer() of kernel/trace/trace.c, and kernel/trace/ftrace.c (6.12).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

from kprobesim.arch.architecture import architecture
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.system import System
from kprobesim.programs.planting import Programs
from kprobesim.programs.watching import Watching, watch_all
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.pid_filter import PidFilter
from kprobesim.trace.tracers.filter_functions import FilterFunctions
from kprobesim.trace.tracers.function import FunctionCalls
from kprobesim.trace.tracers.function_filter import Chosen, FunctionFilter, Traceable
from kprobesim.trace.tracers.function_graph import GraphCalls
from kprobesim.trace.tracers.graph_text import GraphText
from kprobesim.trace.tracers.open_calls import OpenCalls
from kprobesim.trace.tracing import Tracing

__all__ = ["NOP", "Tracers"]

NOP, FUNCTION, GRAPH = "nop", "function", "function_graph"
_INTERRUPTS = "__irqentry_text_start", "__irqentry_text_end"


class Tracers:
    """The tracers of one kernel, of which one is chosen.

    Attributes:
        current: The name of that.
        only: The functions that are traced; none is named: all are.
        never: Those that are not.
        roots: The functions that are shown by function_graph, with what they call; none: all.
        hidden: Those that are not, nor what they call.
        pids: Of which tasks.
    """

    def __init__(
        self,
        tracing: Tracing,
        programs: Programs,
        machine: System,
        image: KernelImage,
        init_freed: Callable[[], bool],
    ) -> None:
        """None is chosen.

        Args:
            tracing: The kernel's tracing.
            programs: Compile what is done at calls.
            machine: The guest.
            image: What runs.
            init_freed: Tells whether the memory of ``__init`` functions was given back.
        """
        self.listed = FilterFunctions(image, init_freed)
        self._tracing, self._programs, self._machine = tracing, programs, machine
        self._image = image
        self._functions: tuple[tuple[int, bool], Sequence[Traceable]] = (0, False), ()
        self._init_freed = init_freed
        self.current = NOP
        self.only = FunctionFilter(self.functions, self._again)
        self.never = FunctionFilter(self.functions, self._again)
        self.roots = FunctionFilter(self.functions, self._choose_calls)
        self.hidden = FunctionFilter(self.functions, self._choose_calls)
        self.pids = PidFilter()
        self._calls = tracing.add_tracer(FunctionCalls)
        abi = architecture(image.arch).abi
        self._graph = tracing.add_tracer(
            lambda stream, known, shown: GraphCalls(stream, known, shown, abi)
        )
        bounds = [image.symbols.get(name) for name in _INTERRUPTS]
        low, high = (0 if symbol is None else symbol.address for symbol in bounds)
        self._graph_text = GraphText(tracing.shown, range(low, high))
        self._watching: list[Watching] = []

    @property
    def available(self) -> tuple[str, ...]:
        """The names of all."""
        return (GRAPH, FUNCTION, NOP) if self._image.ftrace_sites else (NOP,)

    @property
    def is_used(self) -> bool:
        """Whether anything was asked of them."""
        return self.current != NOP or any(each.chosen for each in self._filters.values())

    @property
    def _filters(self) -> dict[str, FunctionFilter]:
        names = ("only", "never", "roots", "hidden")
        return {name: getattr(self, name) for name in names}

    def save(self) -> dict[str, Any]:
        """Which is chosen, and of what, as plain data."""
        pids = (self.pids.only, self.pids.never)
        return {
            "current": self.current,
            "filters": {
                name: [sorted(each.chosen.sites), list(each.chosen.waiting)]
                for name, each in self._filters.items()
            },
            "pids": [None if some is None else sorted(some) for some in pids],
            "deepest": self.going_on.deepest,
            "threshold": self.going_on.threshold,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Trace what :meth:`save` has told of."""
        for name, each in self._filters.items():
            sites, waiting = state["filters"][name]
            each.set(Chosen(frozenset(map(int, sites)), tuple(map(str, waiting))))
        only, never = (None if some is None else frozenset(some) for some in state["pids"])
        self.pids.only, self.pids.never = only, never
        self.going_on.deepest = int(state["deepest"])
        self.going_on.threshold = int(state["threshold"])
        self.choose(str(state["current"]))

    @property
    def going_on(self) -> OpenCalls:
        """The calls that function_graph knows, and which of them it records."""
        return self._graph.going_on

    def functions(self) -> Sequence[Traceable]:
        """All functions that can be traced, in the kernel's order."""
        state = len(self._image.ftrace_sites), self._init_freed()
        if self._functions[0] != state:
            self._functions = state, tuple(self.listed.functions())
        return self._functions[1]

    def choose(self, name: str) -> None:
        """Let a tracer trace; what was recorded before is gone.

        Raises:
            OSError: There is none of that name (EINVAL).
        """
        if name not in self.available:
            others = ", ".join(self.available)
            raise refusal(errno.EINVAL, f"there is no tracer {name!r} here: choose from {others}")
        if name == self.current:
            return
        before = self.current
        self._stop()
        self._be(name)
        self._tracing.buffer.clear()
        try:
            self._start()
        except UsageError as error:
            self._be(before)
            raise refusal(errno.EINVAL, str(error)) from error

    def _be(self, name: str) -> None:
        tracing = self._tracing
        self.current = tracing.shown.tracer = name
        tracing.view = self._graph_text if name == GRAPH else tracing.shown

    def follow_pids(self) -> None:
        """Trace those tasks that :attr:`pids` names now."""
        self._again()

    def module_coming(self, name: str) -> None:
        """A module has been loaded, and its functions can be traced."""
        for each in (self.only, self.never):
            each.module_coming(name)
        self._again()

    def _again(self) -> None:
        """Others are to be traced."""
        if self.current != NOP:
            self._stop()
            self._start()

    def _stop(self) -> None:
        for watching in self._watching:
            watching.end()
        self._watching.clear()
        self._tracing.buffer.pull()

    def _start(self) -> None:
        sites, when = self._sites(), self.pids.condition()
        if self.current == NOP or not sites:
            return
        self._tracing.saved.follow(True)
        if self.current == FUNCTION:
            programs = [self._calls.program(when)]
        else:
            self._graph.going_on.forget()
            programs = [self._graph.entries(when), self._graph.exits(when)]
        for program in programs:
            self._watching.append(watch_all(self._programs, self._machine, sites, program))

    def _choose_calls(self) -> None:
        """Other functions are to be shown by function_graph."""
        self._tracing.buffer.pull()
        self.going_on.roots = self.roots.chosen.sites
        self.going_on.never = self.hidden.chosen.sites
        self.going_on.forget()

    def _sites(self) -> set[int]:
        """Where the functions are traced."""
        only, never = self.only.chosen, self.never.chosen
        if only:
            return set(only.sites - never.sites)
        return {each.site for each in self.functions()} - never.sites
