"""``kprobesim trace --graph``: what a function calls, in function_graph's format."""

from __future__ import annotations

import argparse
import sys

from kprobesim.cli.console import error_console, escaped, print_json, styled
from kprobesim.cli.tracing.work import choose_work
from kprobesim.errors import UsageError
from kprobesim.trace.graph import CallGraph

__all__ = ["check_graph", "show_graph"]

_MOST = 1_000_000


class _Nobody:
    """Records nothing: the graph is kept elsewhere."""

    def begin(self) -> None:
        """See :class:`.work.Recorder`."""

    def pause(self) -> None:
        """See :class:`.work.Recorder`."""

    def pump(self) -> bool:
        """See :class:`.work.Recorder`."""
        return False


def check_graph(args: argparse.Namespace) -> None:
    """Tell wrong use before anything takes time."""
    for option in ("events", "filter", "stack", "files", "profile"):
        if getattr(args, option):
            name = {"events": "-e", "files": "-o"}.get(option, f"--{option}")
            raise UsageError(f"--graph shows calls, no events: leave {name} out")


def show_graph(args: argparse.Namespace) -> int:
    """Let the kernel work, and print the calls of one function; raises our errors, but then."""
    work = choose_work(args)
    kernel = work.open()
    ended: list[str] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            ended.append(work.do(kernel, _Nobody()))
        except BaseException as error:
            problems.append(error)

    graph = kernel.graph(args.graph, run=run, most=args.limit or _MOST)
    _print(graph, args, [note for note in ended if note])
    for problem in problems:
        raise problem
    return 0


def _print(graph: CallGraph, args: argparse.Namespace, notes: list[str]) -> None:
    if args.json:
        print_json({"graph": [call.as_dict() for call in graph.roots], "full": graph.full})
        return
    for line in str(graph).splitlines():
        sys.stdout.write(escaped(line) + "\n")
    sys.stdout.flush()
    if graph.full:
        notes.append(f"the limit of {len(graph):,} calls is reached")
    if not graph.roots:
        notes.append(f"{args.graph} was not called")
    for note in notes:
        error_console().print(styled((note, "dim")))
