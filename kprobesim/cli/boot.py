"""``kprobesim boot``: boot an unmodified kernel, its console live, hits as they come."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from kprobesim.boot.board import Stop, StopReason
from kprobesim.booted import BootedKernel
from kprobesim.cli.console import make_console, print_json, styled
from kprobesim.cli.interrupt import interruptible
from kprobesim.cli.loading import add_image_options, load_kernel_image, seconds
from kprobesim.cli.place import parse_place
from kprobesim.cli.probes import Watch, add_probe_options
from kprobesim.disasm import Instruction
from kprobesim.handle import memory_size

__all__ = ["add_parser", "run"]

_EPILOG = """\
examples:
  kprobesim boot linux-image-6.1.0-56-cloud-arm64-unsigned.deb
  kprobesim boot vmlinuz -p kernel_clone -p do_exit --append quiet
  kprobesim boot vmlinuz --initrd initrd.cpio.gz --until 'Run /init' --timeout 60
"""
_ARGUMENTS = 4
_GOOD = (Stop.TEXT, Stop.SECONDS, Stop.POWER_OFF, Stop.HALT, Stop.RESTART)


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "boot",
        help="boot an unmodified kernel to user space, with probes from its first instruction",
        description="Boot a kernel on a board of its own and show its console. Time is virtual: "
        "every boot prints the same, with probes or without.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument(
        "--initrd",
        metavar="F",
        help="an initial RAM file system (default: a small one of ours that shows some work)",
    )
    parser.add_argument("--append", metavar="S", default="", help="the kernel's command line")
    parser.add_argument("--memory", metavar="M", default="256M", help="RAM (default 256M)")
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    places = [parse_place(text) for text in args.probe]
    memory_size(args.memory)  # wrong use is told before a long unpacking
    kernel = BootedKernel.start(
        load_kernel_image(args), initrd=args.initrd, append=args.append, memory=args.memory
    )
    screen = _Screen(kernel, quiet=args.json)
    hits: list[dict[str, Any]] = []

    def report(hit: dict[str, Any], instruction: Instruction) -> None:
        hit["time"] = round(kernel.time, 9)
        hit |= _task(kernel)
        if args.json:
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
    if args.json:
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


def _task(kernel: BootedKernel) -> dict[str, Any]:
    """Who hit: pid and comm, ``None`` where no task runs yet or the kernel has no BTF."""
    task = kernel.current if kernel.tasks.are_known else None
    return {"pid": task and task.pid, "comm": task and task.comm}


class _Screen:
    """The guest's console and the hits on one terminal."""

    def __init__(self, kernel: BootedKernel, *, quiet: bool) -> None:
        self._kernel = kernel
        self._console = make_console()
        self._at_start = True
        if not quiet:
            kernel.console.listeners.append(self._show)

    def _show(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace").replace("\r", "")
        if text:
            sys.stdout.write(text)
            self._at_start = text.endswith("\n")
            if self._at_start:
                sys.stdout.flush()

    def _new_line(self) -> None:
        if not self._at_start:
            sys.stdout.write("\n")
            self._at_start = True

    def hit(self, hit: dict[str, Any]) -> None:
        """One line: when, where, and the registers that carry arguments."""
        self._new_line()
        regs = self._kernel.machine.regs
        values = " ".join(f"{regs.arg(n):#x}" for n in range(_ARGUMENTS))
        when = f"[{hit['time']:12.6f}] "
        who = "" if hit["comm"] is None else f"{hit['comm']}-{hit['pid']}  "
        self._console.print(
            styled((when, "dim"), (f"hit {hit['hit']} ", "bold"), f"{hit['place']}  {who}", values)
        )

    def end(self, watch: Watch, reason: StopReason) -> None:
        """Why it ended, and what the probes counted."""
        self._new_line()
        for row in watch.summary():
            count = row["hits"]
            self._console.print(f"probe {row['probe']}: {count} hit{'s' * (count != 1)}")
        self._console.print(styled((f"{reason}, at {self._kernel.time:.6f} s", "dim")))
