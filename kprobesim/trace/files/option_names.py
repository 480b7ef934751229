"""The options of the kernel's tracing: which there are in what version, and which are on at first.

TRACE_FLAGS of kernel/trace/trace.h, and those of the tracer nop (trace_nop.c), 5.10 to 7.3.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["IMITATED", "OPTIONS", "Option", "is_of", "options_of"]


class Option(NamedTuple):
    """One of them: ``since`` which version it is there, and whether it is ``on`` at first."""

    name: str
    on: bool = False
    since: tuple[int, ...] = ()


OPTIONS = (
    Option("print-parent", True),
    Option("sym-offset"),
    Option("sym-addr"),
    Option("verbose"),
    Option("raw"),
    Option("hex"),
    Option("bin"),
    Option("block"),
    Option("fields", since=(6, 4)),
    Option("trace_printk", True),
    Option("annotate", True),
    Option("userstacktrace"),
    Option("sym-userobj"),
    Option("printk-msg-only"),
    Option("context-info", True),
    Option("latency-format"),
    Option("record-cmd", True),
    Option("record-tgid"),
    Option("overwrite", True),
    Option("disable_on_free"),
    Option("irq-info", True),
    Option("markers", True),
    Option("event-fork"),
    Option("trace_printk_dest", True, (6, 10)),
    Option("copy_trace_marker", True, (6, 16)),
    Option("pause-on-trace"),
    Option("hash-ptr", True, (5, 12)),
    Option("bitmask-list", since=(7, 0)),
    Option("function-trace", True),
    Option("function-fork"),
    Option("display-graph"),
    Option("stacktrace"),
    Option("test_nop_accept"),
    Option("test_nop_refuse"),
)
"""In the kernel's order."""

OF_TRACERS = (
    Option("func_stack_trace"),
    Option("func-no-repeats", since=(5, 13)),
    Option("func-args", since=(6, 15)),
    Option("funcgraph-overrun"),
    Option("funcgraph-cpu", True),
    Option("funcgraph-overhead", True),
    Option("funcgraph-proc"),
    Option("funcgraph-duration", True),
    Option("funcgraph-abstime"),
    Option("funcgraph-irqs", True),
    Option("funcgraph-tail"),
    Option("funcgraph-args", since=(6, 15)),
    Option("sleep-time", True),
)
"""Those of the tracers function and function_graph, which are files, and in the list of theirs."""
_GRAPH = {option.name for option in OF_TRACERS if option.name.startswith("funcgraph-")}

_ELSEWHERE = frozenset(
    "block trace_printk annotate sym-userobj printk-msg-only "
    "disable_on_free event-fork trace_printk_dest copy_trace_marker pause-on-trace hash-ptr "
    "bitmask-list function-trace function-fork display-graph test_nop_accept".split()
)
"""Those that change nothing in what events of probes record, or in how that is shown."""

IMITATED = (
    _ELSEWHERE
    | (_GRAPH - {"funcgraph-args"})
    | frozenset("sym-offset print-parent irq-info record-tgid record-cmd overwrite markers".split())
)
"""Those that can be changed here."""


def options_of(version: tuple[int, ...]) -> list[Option]:
    """The options of a kernel of that version."""
    return [option for option in (*OPTIONS, *OF_TRACERS) if version >= option.since]


def is_of(option: Option, tracer: str) -> bool:
    """Whether an option is in the list of options while a tracer is chosen."""
    if option.name.startswith("test_nop_"):
        return tracer == "nop"
    if option not in OF_TRACERS:
        return True
    of_graph = option.name in _GRAPH or not option.name.startswith("func")
    return tracer == ("function_graph" if of_graph else "function")
