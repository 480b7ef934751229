"""``kprobesim bench``: what a probe costs here."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.cli.commands import COMMANDS
from kprobesim.errors import UsageError
from kprobesim.kernel.samples import sample_path

__all__ = ["add_parser", "run"]

_EPILOG = """\
example:
  kprobesim bench --arch arm64
  kprobesim bench vmlinux --json figures.json --plot figures.svg
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help=COMMANDS["bench"],
        description="Measure guest code and probes beside plain Unicorn, in interleaved rounds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "image", nargs="?", type=Path, help="a real kernel (default: the fetched ones, if any)"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write all rounds to F")
    parser.add_argument("--plot", type=Path, metavar="F.svg", help="draw the figures into F.svg")
    parser.add_argument("--markdown", type=Path, metavar="F.md", help="write a page with tables")
    parser.add_argument("--rounds", type=int, default=7, help="rounds a contest (default: 7)")
    parser.add_argument("--arch", choices=ARCHITECTURES, help="one architecture only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    # Not at the top: the benchmark brings its rivals along, and only this command needs them.
    from kprobesim.bench.page import page
    from kprobesim.bench.plot import check_plot, write_plot
    from kprobesim.bench.run import run_benchmark

    for path in filter(None, (args.json, args.plot, args.markdown)):
        if not path.absolute().parent.is_dir() or path.is_dir():
            raise UsageError(f"cannot write {path}: name a file in an existing directory")
    if args.plot:
        check_plot(args.plot)
    report = run_benchmark(
        sample_path,
        [args.arch] if args.arch else list(ARCHITECTURES),
        image=args.image,
        rounds=args.rounds,
        progress=_progress,
    )
    for line in report.lines():
        print(line)
    if args.json:
        args.json.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    if args.plot:
        write_plot(report, args.plot)
    if args.markdown:
        plot = os.path.relpath(args.plot, args.markdown.parent) if args.plot else None
        args.markdown.write_text(page(report, plot))
    return 0


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
