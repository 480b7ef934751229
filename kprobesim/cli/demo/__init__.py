"""``kprobesim demo``: the life of a few probes, on sample guests or on a function of one's own."""

from __future__ import annotations

import argparse
from typing import Any

from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import make_console, styled
from kprobesim.cli.demo.own import OWN_SCENES, parse_own
from kprobesim.cli.demo.scenes import SCENES
from kprobesim.cli.demo.story import Story
from kprobesim.cli.loading import load_kernel
from kprobesim.errors import UsageError
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.called import CalledKernel
from kprobesim.kernel.samples import sample_path

__all__ = ["add_parser", "run"]

_EPILOG = """\
Everything is computed while you watch: two small kernel-like images are loaded, called and probed,
or a function of your kernel is. The exit status is 1 if one of the claims does not hold.

examples:
  kprobesim demo
  kprobesim demo --arch arm64 --stepping trap
  kprobesim demo amd64.deb 'crc32_le(0xffffffff, "123456789", 9)'
  kprobesim demo arm64.deb int_sqrt
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help=COMMANDS["demo"],
        description="Show the whole life of a few probes, on the sample guests or on your kernel.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "image",
        metavar="IMAGE",
        nargs="?",
        help="a kernel of yours (default: the two sample guests)",
    )
    parser.add_argument(
        "call",
        metavar="SYMBOL",
        nargs="?",
        help="its function to call and to probe, also as a call: 'strlen(\"hello\")'",
    )
    parser.add_argument("--symbols", metavar="FILE", help="where the symbols of IMAGE are")
    parser.add_argument("--arch", choices=ARCHITECTURES, help="only this architecture's sample")
    parser.add_argument(
        "--stepping",
        choices=("breakpoint", "trap"),
        default="breakpoint",
        help="how copied instructions are stepped (default: breakpoint, as current kernels do)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; 1 if a claim did not hold."""
    stories = _own(args) if args.image else _samples(args)
    claims = sum(story.claims for story in stories)
    failures = sum(story.failures for story in stories)
    console = make_console()
    console.print()
    verdict = f"{claims - failures} of {claims} claims hold"
    console.print(styled((verdict, "bold red" if failures else "bold green")))
    return 1 if failures else 0


def _samples(args: argparse.Namespace) -> list[Story]:
    stories = []
    for arch in ARCHITECTURES:
        if args.arch in (None, arch):
            kernel = Kernel.load(sample_path(arch), stepping=args.stepping, arming="breakpoint")
            story = _begin(kernel)
            stories.append(story)
            for number, (title, scene) in enumerate(SCENES, 1):
                story.title(f"{number}. {title}")
                scene(kernel, story)
    return stories


def _own(args: argparse.Namespace) -> list[Story]:
    if args.call is None:
        raise UsageError(
            f"which function of {args.image}? Name it: kprobesim demo {args.image} int_sqrt"
        )
    call = parse_own(args.call)
    args.arming = "breakpoint"
    kernel = load_kernel(args)
    if not isinstance(kernel, CalledKernel):
        raise UsageError(
            f"{args.image} is a snapshot, whose probes change no byte that could be shown: "
            "name an image"
        )
    story = _begin(kernel)
    for number, (title, scene) in enumerate(OWN_SCENES, 1):
        story.title(f"{number}. {title}")
        scene(kernel, story, call)
    return [story]


def _begin(kernel: CalledKernel) -> Story:
    story = Story(make_console(), kernel)
    story.title(f"== {kernel.arch}: Linux {kernel.version}, {len(kernel.symbols)} symbols")
    return story
