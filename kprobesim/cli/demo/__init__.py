"""``kprobesim demo``: the life of a few probes, on the sample guests of both architectures."""

from __future__ import annotations

import argparse
from typing import Any

from kprobesim.cli.console import make_console, styled
from kprobesim.cli.demo.scenes import SCENES
from kprobesim.cli.demo.story import Story
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.samples import ARCHITECTURES, sample_path

__all__ = ["add_parser", "run"]

_EPILOG = """\
Everything is computed while you watch: two small kernel-like images are loaded, called and probed.
The exit status is 1 if one of the claims does not hold.

examples:
  kprobesim demo
  kprobesim demo --arch arm64 --stepping trap
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="show the life of a few probes",
        description="Show the whole life of a few probes on the sample guests.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", choices=ARCHITECTURES, help="only this architecture")
    parser.add_argument(
        "--stepping",
        choices=("breakpoint", "trap"),
        default="breakpoint",
        help="how copied instructions are stepped (default: breakpoint, as current kernels do)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; 1 if a claim did not hold."""
    console = make_console()
    claims = failures = 0
    for arch in ARCHITECTURES:
        if args.arch not in (None, arch):
            continue
        kernel = Kernel.load(sample_path(arch), stepping=args.stepping)
        story = Story(console, kernel)
        story.title(f"== {arch}: Linux {kernel.version}, {len(kernel.symbols)} symbols")
        for number, (title, scene) in enumerate(SCENES, 1):
            story.title(f"{number}. {title}")
            scene(kernel, story)
        claims += story.claims
        failures += story.failures
    console.print()
    verdict = f"{claims - failures} of {claims} claims hold"
    console.print(styled((verdict, "bold red" if failures else "bold green")))
    return 1 if failures else 0
