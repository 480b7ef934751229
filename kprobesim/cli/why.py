"""``kprobesim why``: tell which branch made a function return what it returned."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kprobesim.cli.call import place_arguments
from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import Line, print_json, print_lines
from kprobesim.cli.expression import parse_call
from kprobesim.cli.loading import add_image_options, load_kernel, progress
from kprobesim.cli.options import (
    add_cpus_option,
    add_debug_option,
    add_run_option,
    add_timeout_option,
)
from kprobesim.errors import UsageError

if TYPE_CHECKING:
    from kprobesim.kernel.base import Kernel
    from kprobesim.why.answer import Why

__all__ = ["add_parser", "run"]

_EPILOG = """\
The function runs once, and each instruction is noted. What it returned is followed back to where it
was made; the last branch that could have led to another result is the answer. It runs once more,
the other way at that branch, to tell what it would have returned then.

examples:
  kprobesim why vmlinux 'kstrtoint("12x", 10, buf(4))'
  kprobesim why linux-image.deb mount --run 'mount -t nofs none /tmp'
  kprobesim why linux-image.deb 'kstrtoint("12x", 10, buf(4))' --errno EINVAL --debug vmlinux-dbg
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "why",
        help=COMMANDS["why"],
        description="Tell which branch made a function of a kernel return what it returned.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument(
        "expression",
        metavar="CALL",
        nargs="?",
        help="a call, written as for the command call; with --run a function or a system call",
    )
    add_run_option(
        parser,
        boots="to a shell, kept for the next time",
        then="give it LINE: the first call of CALL that fails is explained, without CALL that of "
        "any system call. A snapshot's shell must wait",
        several=False,
    )
    add_cpus_option(parser, only="with --run: ")
    parser.add_argument(
        "--errno", metavar="E", help="the error to explain, such as EINVAL; refuse any other result"
    )
    add_debug_option(parser, tells="source lines")
    parser.add_argument(
        "--failures",
        action="store_true",
        help="list all inner calls that failed, in order",
    )
    add_timeout_option(parser, "give up a run", more=" (default 10; 60 with --run)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    kernel, why = _ask_for_call(args) if args.line is None else _ask_for_line(args)
    if args.json:
        print_json(
            {"call": args.expression, "run": args.line, "version": kernel.version, **why.as_dict()}
        )
    else:
        print_lines(_lines(why, all_failures=args.failures))
    return 0


def _ask_for_call(args: argparse.Namespace) -> tuple[Kernel, Why]:
    if args.expression is None:
        raise UsageError("name the CALL that is to be explained, or give --run")
    if args.cpus != 1:
        raise UsageError("--cpus is for guests that boot: give --run, too")
    call = parse_call(args.expression)
    kernel = load_kernel(args)
    values, _ = place_arguments(kernel, call.arguments)
    options = {"errno": args.errno, "debug": args.debug, "timeout": args.timeout}
    return kernel, kernel.why(call.function, *values, **options)


def _ask_for_line(args: argparse.Namespace) -> tuple[Kernel, Why]:
    from kprobesim.asking.booted import booted_kernel

    if not args.line.strip():
        raise UsageError("--run needs a line for the guest's shell")
    if args.expression is not None and "(" in args.expression:
        raise UsageError(
            f"with --run name the function alone, without arguments: {args.expression!r} is what "
            "we would call ourselves"
        )
    if args.symbols is not None:
        raise UsageError("--symbols is for calls: leave it out with --run")
    kernel = booted_kernel(args.image, cpus=args.cpus, progress=progress())
    options = {"errno": args.errno, "debug": args.debug, "timeout": args.timeout}
    return kernel, kernel.why(args.expression, run=args.line, **options)


def _lines(why: Why, *, all_failures: bool) -> Iterator[Line]:
    """The answer, for people."""
    for line in str(why).splitlines():
        head, _, rest = line.partition(" ")
        yield ((head, "bold"), f" {rest}") if head else (line,)
    for failed in why.failed if all_failures else ():
        yield (f"failed: {failed}",)
