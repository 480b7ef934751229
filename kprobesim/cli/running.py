"""Letting a kernel on a board run: what ``boot`` and ``resume`` have in common."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import Any

from kprobesim.boot.faults import BootError
from kprobesim.boot.host_time import CLOCKS
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.cli.console import print_json
from kprobesim.cli.interrupt import interruptible
from kprobesim.cli.loading import seconds
from kprobesim.cli.probes import Watch, add_probe_options
from kprobesim.cli.screen import Screen
from kprobesim.cli.terminal import Terminal
from kprobesim.disasm import Instruction
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.snapshots import check_place
from kprobesim.kprobes.rules.place import Place

__all__ = ["add_running_options", "choose_clock", "run_guest"]

_TIMEOUT = 300.0
_GOOD = (Stop.TEXT, Stop.SECONDS, Stop.POWER_OFF, Stop.HALT, Stop.RESTART)


def add_running_options(parser: argparse.ArgumentParser) -> None:
    """Which places to probe, and when to stop."""
    add_probe_options(parser)
    parser.add_argument("--until", metavar="TEXT", help="stop when this is on the console")
    parser.add_argument(
        "--seconds", metavar="S", type=seconds, help="stop after S seconds of the guest's time"
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=seconds,
        help=f"give up after S seconds of this computer's time (default {_TIMEOUT:g}; none where "
        "keys go to the guest)",
    )
    parser.add_argument(
        "--snapshot",
        metavar="F",
        help="write the guest to F when it stops (also by Ctrl-C), for resume and other commands",
    )
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        help="the guest's time: virtual (each run the same, an idle guest skips it) or host (real "
        "seconds: the default where keys go to the guest)",
    )


def _is_interactive(args: argparse.Namespace) -> bool:
    """Whether keys go to the guest's console."""
    return not args.json and Terminal.is_there()


def choose_clock(args: argparse.Namespace) -> str:
    """The name of the guest's clock."""
    return args.clock or ("host" if _is_interactive(args) else "virtual")


def _task(kernel: BootedKernel) -> dict[str, Any]:
    """Who hit: pid and comm, ``None`` where no task runs yet or the kernel has no BTF."""
    task = kernel.current if kernel.tasks.are_known else None
    return {"pid": task and task.pid, "comm": task and task.comm}


def run_guest(kernel: BootedKernel, places: list[Place], args: argparse.Namespace) -> int:
    """Probe ``places`` and run until the options say stop; the exit code."""
    terminal = Terminal(kernel.board) if _is_interactive(args) else None
    screen = None if args.json else Screen(kernel, raw=terminal is not None)
    hits: list[dict[str, Any]] = []

    def report(hit: dict[str, Any], instruction: Instruction) -> None:
        hit["time"] = round(kernel.time, 9)
        hit |= _task(kernel)
        if screen is None:
            hits.append(hit)
        else:
            screen.hit(hit)

    if args.snapshot is not None:
        check_place(args.snapshot)  # wrong use is told before a long run
    watch = Watch(kernel, args.max_hits, report)
    for p in kernel.kprobes:
        watch.adopt(p)
    for place in places:
        watch.plant(place)
    timeout = args.timeout or (_TIMEOUT if terminal is None else None)
    reason: StopReason | None = None
    fault: BootError | None = None
    try:
        with interruptible(kernel.board.stop), terminal or nullcontext():
            reason = kernel.run(args.until, timeout=timeout, seconds=args.seconds)
    except BootError as error:
        fault = error
    left = terminal is not None and terminal.left
    if args.snapshot is not None and fault is None:
        kernel.snapshot(args.snapshot)
    if reason and reason.kind is Stop.REQUESTED and not left:
        raise KeyboardInterrupt
    if screen is None:
        print_json(
            {
                "arch": kernel.arch,
                "version": kernel.version,
                "stopped": reason.kind.name.lower() if reason else "fault",
                "reason": str(reason) if reason else None,
                "fault": fault.as_dict() if fault else None,
                "time": round(kernel.time, 9),
                "console": kernel.console.text,
                "snapshot": args.snapshot,
                "probes": watch.summary(),
                "hits": hits,
            }
        )
    else:
        screen.end(watch, reason, args.snapshot)
    if fault:
        raise fault
    wanted = _GOOD if args.until is None else (Stop.TEXT,)
    return 0 if left or (reason and reason.kind in wanted) else 1
