"""``kprobesim trace``: what probes see in calls, in a boot, or while a shell works in the guest."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import indent
from typing import Any

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.loading import add_image_options, add_machine_options
from kprobesim.cli.options import (
    add_boot_options,
    add_debug_option,
    add_end_options,
    add_files_option,
    add_run_option,
    add_timeout_option,
    positive_int,
)
from kprobesim.cli.tracing.graph import check_graph, show_graph
from kprobesim.cli.tracing.options import EventAction, FilterAction
from kprobesim.cli.tracing.output import Output
from kprobesim.cli.tracing.work import choose_work
from kprobesim.errors import UsageError
from kprobesim.trace.exports.export import check_export, needs_stacks
from kprobesim.trace.filters.error import FilterError

__all__ = ["add_parser", "run"]

_EPILOG = """\
events, as kprobe_events defines them (Documentation/trace/kprobetrace.rst):
  'p vfs_read'                              a function is entered, an instruction reached
  'p do_sys_openat2 file=+0(%si):ustring'   with registers, memory, strings ...
  'p vfs_read count=$arg3:u64'              arguments by number; by name where there is BTF
  'r vfs_read ret=$retval:s64'              a function returns
  'p fs/open.c:1390'                        a line of the source, by debug information
  'p vfs_*'                                 an event for each function of a pattern

examples:
  kprobesim trace vmlinux -e 'p crc32_le len=%dx:u64' -e 'r crc32_le ret=$retval:x32' \\
      -- 'crc32_le(0, "123456789", 9)'
  kprobesim trace linux-image.deb --boot -e 'p kernel_clone' -o boot.perfetto-trace
  kprobesim trace linux-image.deb --run 'ls /proc' \\
      -e 'p vfs_write count=$arg3:u64' --filter 'count > 100'
  kprobesim trace linux-image.deb --run 'cat /proc/version' -e 'p vfs_*' -o flames.svg
  kprobesim trace linux-image.deb --run 'cat /nowhere' --graph openat
  kprobesim trace booted.kps --seconds 1 -e 'p schedule' --stack --limit 20
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "trace",
        help=COMMANDS["trace"],
        description="Define events, let a kernel work, and print what they record in the kernel's "
        "own trace format, then how often each was hit and missed. It works on calls behind --, "
        "on a boot (--boot), or on lines for a shell in the guest (--run); a snapshot goes on.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument("calls", metavar="CALL", nargs="*", help="behind --: function calls")
    _add_event_options(parser)
    _add_work_options(parser)
    _add_output_options(parser)
    add_machine_options(parser)
    parser.set_defaults(run=run)


def _add_event_options(parser: argparse.ArgumentParser) -> None:
    events = parser.add_argument_group("what is recorded")
    events.add_argument(
        "-e",
        "--event",
        metavar="DEFINITION",
        dest="events",
        action=EventAction,
        default=[],
        help="define an event; may be repeated",
    )
    events.add_argument(
        "--filter",
        metavar="EXPRESSION",
        action=FilterAction,
        help="record only what it is true of, such as 'len > 3 && ret < 0': of the -e before "
        "it, or of all if it comes before them",
    )
    events.add_argument(
        "--graph",
        metavar="FUNCTION",
        help="instead of events: what FUNCTION calls, and what those call, with times, as "
        "function_graph prints it",
    )
    events.add_argument(
        "--stack", action="store_true", help="record and show the callers of each entry"
    )
    add_debug_option(
        events,
        tells="inlined functions and lines of the source in stacks (default: the image's own file)",
    )


def _add_work_options(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("what the kernel does, and how long")
    work.add_argument("--boot", action="store_true", help="boot it, from its first instruction")
    add_run_option(
        work,
        boots="to a shell, kept for the next time",
        then="give it LINE. What the guest prints goes to standard error",
    )
    add_boot_options(work, only="with --boot: ", cpus="with --boot or --run: ")
    add_end_options(work, "end")
    add_timeout_option(work, "end")
    work.add_argument(
        "--limit", metavar="N", type=positive_int, help="end when N entries are recorded"
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("what is written")
    add_files_option(
        output,
        writes=" instead of printing entries: .json .csv .parquet .perfetto-trace .folded, or "
        ".svg, a flame graph; may be repeated. The last two record --stack by themselves",
    )
    output.add_argument(
        "--profile", action="store_true", help="print no entries, only hits and misses"
    )


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    if args.graph is not None:
        check_graph(args)
        return show_graph(args)
    _check(args)
    work = choose_work(args)
    kernel = work.open()
    trace = kernel.trace(
        *args.events,
        filter=args.filter,
        stack=args.stack or any(map(needs_stacks, args.files)),
        limit=0 if args.profile and not args.files else args.limit,
        debug=args.debug,
    )
    try:
        Output(args, kernel, trace).record(lambda recorder: work.do(kernel, recorder))
    except FilterError as error:
        raise UsageError(
            f"a filter is refused, {error.strerror}:\n{indent(error.shown.rstrip(), '  ')}"
        ) from None
    return 0


def _check(args: argparse.Namespace) -> None:
    """Tell wrong use before anything takes time."""
    if not args.events:
        raise UsageError("nothing is to be traced: give -e, such as -e 'p vfs_read'")
    for file in args.files:
        check_export(file)
    if args.json and args.profile:
        raise UsageError("--json prints everything: leave --profile out")
    if args.debug is not None and not Path(args.debug).is_file():
        raise UsageError(f"--debug {args.debug}: there is no such file")
