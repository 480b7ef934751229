"""Letting a kernel on a board run: what ``boot`` and ``resume`` have in common."""

from __future__ import annotations

import argparse
from typing import Any

from kprobesim.boot.board import Stop
from kprobesim.booted import BootedKernel
from kprobesim.cli.console import print_json
from kprobesim.cli.interrupt import interruptible
from kprobesim.cli.loading import seconds
from kprobesim.cli.place import Place
from kprobesim.cli.probes import Watch, add_probe_options
from kprobesim.cli.screen import Screen
from kprobesim.disasm import Instruction

__all__ = ["add_running_options", "run_guest"]

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
        default=300.0,
        help="give up after S seconds of this computer's time (default 300)",
    )


def run_guest(kernel: BootedKernel, places: list[Place], args: argparse.Namespace) -> int:
    """Probe ``places`` and run until the options say stop; the exit code."""
    screen = None if args.json else Screen(kernel)
    hits: list[dict[str, Any]] = []

    def report(hit: dict[str, Any], instruction: Instruction) -> None:
        hit["time"] = round(kernel.time, 9)
        if screen is None:
            hits.append(hit)
        else:
            screen.hit(hit)

    watch = Watch(kernel, args.max_hits, report)
    for place in places:
        watch.plant(place)
    with interruptible(kernel.board.stop):
        reason = kernel.run(args.until, timeout=args.timeout, seconds=args.seconds)
    if reason.kind is Stop.REQUESTED:
        raise KeyboardInterrupt
    if screen is None:
        print_json(
            {
                "arch": kernel.arch,
                "version": kernel.version,
                "stopped": reason.kind.name.lower(),
                "reason": str(reason),
                "time": round(kernel.time, 9),
                "console": kernel.console.text,
                "probes": watch.summary(),
                "hits": hits,
            }
        )
    else:
        screen.end(watch, reason)
    wanted = Stop.TEXT if args.until is not None else None
    return 0 if reason.kind in _GOOD and wanted in (None, reason.kind) else 1
