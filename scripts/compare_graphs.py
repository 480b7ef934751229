"""What calls what by ``k.graph()``, beside the guest's own function_graph in the same boot.

    python scripts/compare_graphs.py SNAPSHOT ...

A snapshot is of a guest that has booted to a shell, with tracefs mounted and function_graph in its
kernel. Each line below is done twice from the same state: once with the guest's tracer, once with
ours, which shows only what ftrace can trace then. Which functions call which must be equal, not the
times; interrupts are left out of both. Of several calls in a line the guest's first is compared.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from difflib import unified_diff

from kprobesim import BootedKernel, Kernel
from kprobesim.asking.shell import Shell

LINES = (
    ("mkdirat", "mkdir /tmp/graph"),
    ("mkdir", "mkdir /tmp/graph"),
    ("openat", "cat /nowhere"),
    ("write", "echo 5000 > /proc/self/oom_score_adj"),
    ("clock_nanosleep", "sleep 0.02"),
    ("unlinkat", "touch /tmp/old; rm /tmp/old"),
    ("pipe2", "true | true"),
    ("getdents64", "ls /tmp"),
    ("wait4", "sleep 0.01"),
    ("sethostname", "hostname 12345678901234567890123456789012345678901234567890123456789012345"),
)
_TRACING = "/sys/kernel/tracing"
_CALL = re.compile(r"\|(?P<indent> +)(?P<name>[\w.]+)\(\)(?: \{|;)")
_OTHERS = (
    "irq_enter_rcu",
    "do_interrupt_handler",
    "irq_exit_rcu",
    "gic_handle_irq",
    "__sysvec",
    "raw_irqentry_exit_cond_resched",
    "irqentry_",
    "__traceiter_",
)
"""Interrupts, which come where they will, and what a tracer is told by."""
_DEEP = 10_000
_END = re.compile(r"\|(?P<indent> +)\}")


def main() -> int:
    """Print a line for each; 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("snapshots", nargs="+")
    parser.add_argument("--only", default="", help="the system call with this text in its name")
    args = parser.parse_args()
    differ = 0
    for snapshot in args.snapshots:
        for name, line in LINES:
            if args.only in name:
                differ += _compare(snapshot, name, line)
    return int(differ > 0)


def _compare(snapshot: str, name: str, line: str) -> bool:
    kernel = Kernel.resume(snapshot)
    function = next(
        (s for s in (f"__x64_sys_{name}", f"__arm64_sys_{name}") if s in kernel.symbols), None
    )
    if function is None:
        return False
    state = kernel.fork_state()
    theirs = next(_calls(_of_guest(kernel, function, line), function), [])
    kernel.restore_state(state)
    graph = kernel.graph(function, run=line, ftrace=True)
    all_ours = list(_calls("".join(graph.lines()), function))
    if not theirs:
        print(f"{snapshot} {name}: not called")
        return bool(all_ours)
    ours = max(all_ours, key=lambda calls: calls == theirs, default=[])
    same = ours == theirs
    print(f"{snapshot} {name}: {'equal' if same else 'DIFFERS'}, {len(theirs)} calls")
    if not same:
        for text in unified_diff(theirs, ours, "the guest's", "ours", lineterm="", n=2):
            print(f"  {text}")
    sys.stdout.flush()
    return not same


def _of_guest(kernel: BootedKernel, function: str, line: str) -> str:
    shell = Shell(kernel)
    for each in (
        f"cd {_TRACING}; echo 0 > tracing_on; echo nofuncgraph-irqs > trace_options",
        f"echo {function} > set_graph_function; echo function_graph > current_tracer",
        f"cd /; echo 1 > {_TRACING}/tracing_on; {line}; echo 0 > {_TRACING}/tracing_on",
    ):
        shell.run(each, 60)
    return shell.run(f"cat {_TRACING}/trace", 60)[1]


def _calls(text: str, function: str) -> Iterator[list[str]]:
    """The calls in each one of ``function``, indented by their depth."""
    found: list[str] = []
    least, others = 0, _DEEP
    for line in text.splitlines():
        call = _CALL.search(line)
        if call is not None:
            depth = len(call["indent"])
            if depth > others:
                continue
            others = depth if call["name"].startswith(_OTHERS) else _DEEP
            if others != _DEEP:
                continue
        if call is not None and (found or call["name"] == function):
            least = least if found else len(call["indent"])
            found.append(" " * (len(call["indent"]) - least) + call["name"])
        end = _END.search(line)
        if end is not None and found and len(end["indent"]) == least:
            yield found
            found = []


if __name__ == "__main__":
    sys.exit(main())
