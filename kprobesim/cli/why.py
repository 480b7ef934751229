"""``kprobesim why``: tell which branch made a function return what it returned."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kprobesim.cli.call import place_arguments
from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import make_console, print_json, styled
from kprobesim.cli.expression import parse_call
from kprobesim.cli.loading import add_image_options, load_kernel, seconds

if TYPE_CHECKING:
    from kprobesim.why.answer import Why

__all__ = ["add_parser", "run"]

_EPILOG = """\
The function runs once, and each instruction is noted. What it returned is followed back to where it
was made; the last branch that could have led to another result is the answer. It runs once more,
the other way at that branch, to tell what it would have returned then.

examples:
  kprobesim why vmlinux 'kstrtoint("12x", 10, buf(4))'
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
        "expression", metavar="CALL", help="a call, written as for the command call"
    )
    parser.add_argument(
        "--errno", metavar="E", help="the error to explain, such as EINVAL; refuse any other result"
    )
    parser.add_argument(
        "--debug",
        metavar="FILE",
        help="the vmlinux with the kernel's debug information, or its package, for source lines",
    )
    parser.add_argument(
        "--failures",
        action="store_true",
        help="list all inner calls that failed, not the first one",
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=seconds,
        default=10.0,
        help="give up a run after S seconds (default 10)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    call = parse_call(args.expression)
    kernel = load_kernel(args)
    values, _ = place_arguments(kernel, call.arguments)
    why = kernel.why(
        call.function, *values, errno=args.errno, debug=args.debug, timeout=args.timeout
    )
    if args.json:
        print_json({"call": args.expression, "version": kernel.version, **why.as_dict()})
    else:
        _show(why, all_failures=args.failures)
    return 0


def _show(why: Why, *, all_failures: bool) -> None:
    console = make_console()
    for line in str(why).splitlines():
        head, _, rest = line.partition(" ")
        console.print(styled((head, "bold"), f" {rest}") if head else styled(line))
    for failed in why.failed[1:] if all_failures else ():
        console.print(styled(f"then: {failed}"))
