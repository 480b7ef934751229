"""``kprobesim resume``: go on from a snapshot, as ``boot`` would from there."""

from __future__ import annotations

import argparse
from typing import Any

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.loading import add_model_options, progress
from kprobesim.cli.running import add_running_options, choose_clock, run_guest
from kprobesim.kernel.base import Kernel
from kprobesim.kprobes.rules.place import parse_place

__all__ = ["add_parser", "run"]

_EPILOG = """\
The probes that were armed are armed again and their hits shown; -p adds others. A snapshot keeps
--model and --strict: others than those are refused.

examples:
  kprobesim boot vmlinuz --until 'Run /init' --snapshot booted.kps
  kprobesim resume booted.kps -p kernel_clone
  kprobesim resume booted.kps --seconds 1 --snapshot later.kps
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "resume",
        help=COMMANDS["resume"],
        description="Go on exactly where a snapshot was taken. It holds all that is needed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("snapshot_file", metavar="F", help="what --snapshot has written")
    parser.add_argument(
        "--image", metavar="IMAGE", help="refuse a snapshot of any other kernel than this one"
    )
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_running_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    places = [parse_place(text) for text in args.probe]
    kernel = Kernel.resume(
        args.snapshot_file,
        image=args.image,
        model=args.model,
        strict=args.strict or None,
        clock=choose_clock(args),
        progress=progress(),
    )
    return run_guest(kernel, places, args)
