"""``kprobesim boot``: boot an unmodified kernel, its console live, hits as they come."""

from __future__ import annotations

import argparse
from typing import Any

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.loading import add_image_options, add_model_options, load_kernel_image
from kprobesim.cli.options import add_boot_options
from kprobesim.cli.running import add_running_options, choose_clock, run_guest
from kprobesim.kernel.arguments import memory_size
from kprobesim.kernel.base import Kernel
from kprobesim.kprobes.rules.place import parse_place

__all__ = ["add_parser", "run"]

_EPILOG = """\
examples:
  kprobesim boot linux-image-6.1.0-56-cloud-arm64-unsigned.deb
  kprobesim boot vmlinuz -p kernel_clone -p do_exit --append quiet
  kprobesim boot vmlinuz --initrd initrd.cpio.gz --until 'Run /init' --timeout 60
  kprobesim boot vmlinuz --until 'Run /init' --snapshot booted.kps
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "boot",
        help=COMMANDS["boot"],
        description="Boot a kernel on a board of its own and show its console. Time is virtual: "
        "every boot prints the same, with probes or without. On a terminal keys go to the guest, "
        "whose time then is real: Ctrl-A x leaves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    add_boot_options(parser, initrd=" (default: a small one of ours that shows some work)")
    parser.add_argument("--memory", metavar="M", default="256M", help="RAM (default 256M)")
    parser.add_argument(
        "--policy",
        metavar="P",
        help="which CPU runs when: round-robin:blocks=10000 (default), random:seed=5, "
        "priorities:seed=5; with at=vfs_read|mutex_* turns end there, too",
    )
    parser.add_argument(
        "--schedule", metavar="TEXT", help="let the CPUs run as a failure's schedule says"
    )
    add_model_options(parser)
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    places = [parse_place(text) for text in args.probe]
    memory_size(args.memory)  # wrong use is told before a long unpacking
    kernel = Kernel.boot(
        load_kernel_image(args),
        initrd=args.initrd,
        append=args.append,
        memory=args.memory,
        clock=choose_clock(args),
        cpus=args.cpus,
        policy=args.policy,
        schedule=args.schedule,
        model=args.model,
        strict=args.strict,
    )
    return run_guest(kernel, places, args)
