"""Letting a kernel on a board run: what ``boot`` and ``resume`` have in common."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from kprobesim.boot.faults import BootError
from kprobesim.boot.host_time import CLOCKS
from kprobesim.boot.stop import StopReason
from kprobesim.cli.console import error_console, print_json, styled
from kprobesim.cli.options import add_end_options, add_timeout_option
from kprobesim.cli.probes import Watch, add_probe_options
from kprobesim.cli.screen import Screen
from kprobesim.cli.terminal import Terminal
from kprobesim.disasm import Instruction
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.snapshots import check_place
from kprobesim.kprobes.rules.place import Place
from kprobesim.machine.faults import GuestStop

__all__ = ["add_running_options", "choose_clock", "run_guest"]

_TIMEOUT = 300.0


def add_running_options(parser: argparse.ArgumentParser) -> None:
    """Which places to probe, and when to stop."""
    add_probe_options(parser)
    add_end_options(parser, "stop")
    add_timeout_option(
        parser,
        "give up",
        more=f" (default {_TIMEOUT:g}; none where keys go to the guest)",
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
    probed = bool(places) or len(kernel.kprobes) > 0
    screen = None if args.json else Screen(kernel, raw=terminal is not None, stamps=probed)
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
    fault: GuestStop | None = None
    interrupt: KeyboardInterrupt | None = None
    try:
        with terminal or nullcontext():
            reason = kernel.run(args.until, timeout=timeout, seconds=args.seconds)
    except GuestStop as error:
        fault = error
    except KeyboardInterrupt as error:
        interrupt = error
    left = terminal is not None and terminal.left
    snapshot = _snapshot(kernel, fault, args.snapshot)
    if interrupt is not None:
        raise interrupt
    ended = reason if reason is not None else kernel.board.ended
    outcome = {
        "arch": kernel.arch,
        "version": kernel.version,
        "stopped": "fault" if ended is None else ended.kind.name.lower(),
        "reason": None if ended is None else str(ended),
        "missed": not reason,
        "fault": fault.as_dict() if fault else None,
        "time": round(kernel.time, 9),
        "cpus": kernel.board.cpus,
        "switches": 0 if kernel.board.turns is None else kernel.board.turns.switches,
        "console": kernel.console.text,
        "lines": [asdict(line) for line in kernel.console.lines],
        "snapshot": snapshot,
        "probes": watch.summary(),
        "hits": hits,
    }
    if screen is None:
        print_json(outcome)
    else:
        screen.end(outcome)
    if fault:
        raise fault
    if left or reason:
        return _no_snapshot(kernel, args.snapshot) if args.snapshot and not snapshot else 0
    error_console().print(styled(("kprobesim: ", "bold red"), _missed(args, reason)))
    return 1


def _snapshot(kernel: BootedKernel, fault: GuestStop | None, path: str | None) -> str | None:
    """Keep the guest in ``path`` if it can go on from there; where it is then."""
    if path is None or isinstance(fault, BootError) or kernel.board.ended is not None:
        return None
    kernel.snapshot(path)
    return path


def _no_snapshot(kernel: BootedKernel, path: str) -> int:
    error_console().print(
        styled(
            ("kprobesim: ", "bold red"),
            f"{path} is not written: {kernel.board.ended}, so nothing can go on from there; "
            "stop it before that, see --until and --seconds",
        )
    )
    return 1


def _missed(args: argparse.Namespace, reason: StopReason | None) -> str:
    what = "the guest did not end" if args.until is None else f"{args.until!r} did not come"
    return f"{what}: {reason}; see --timeout, --seconds and --until"
