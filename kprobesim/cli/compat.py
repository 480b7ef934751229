"""``kprobesim compat``: whether probes attach, and whether they hit, on many kernels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import print_lines
from kprobesim.cli.loading import progress
from kprobesim.cli.options import (
    add_cpus_option,
    add_debug_option,
    add_run_option,
    add_timeout_option,
    positive_int,
)
from kprobesim.cli.reports import add_report_options, check_reports, write_reports
from kprobesim.compat.hits import Run
from kprobesim.compat.hits_table import hits_table
from kprobesim.compat.kinds import Kind
from kprobesim.compat.run import compatibility
from kprobesim.compat.table import table
from kprobesim.errors import UsageError
from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import Interface

__all__ = ["add_parser", "run"]

_EPILOG = """\
A SOURCE is a compiled eBPF object, a bpftrace script, a tool of BCC's, a Tetragon TracingPolicy,
definitions of kprobe_events or perf probe, or a list of names; a KERNEL an image, package, snapshot
or catalogue. Both may be folders and patterns.

exit status: 0 if every probe is well on every kernel, 1 if one is not (see --allow), 2 for wrong
use, also if nothing at all could be answered.

examples:
  kprobesim compat probes.txt -k vmlinux
  kprobesim compat -e vfs_read+4 -e 'kprobe:f { print(arg0); }' -k vmlinux
  kprobesim compat tool.bpf.o script.bt -k 'kernels/*.deb' --allow partly-inlined
  kprobesim compat policies/ -k kernels/ --jobs 4 --junit report.xml
  kprobesim compat probes.txt -k amd64.deb arm64.deb --ask --run 'modprobe loop; ls /proc'
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compat",
        help=COMMANDS["compat"],
        description="Tell for every probe and kernel whether it attaches, and what it misses.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="what names the probes")
    parser.add_argument(
        "-e",
        dest="texts",
        metavar="TEXT",
        action="append",
        default=[],
        help="a source as text: vfs_read+4, 'kprobe:f { }', 'p:x f $arg1' (may be repeated)",
    )
    parser.add_argument(
        "-k",
        "--kernel",
        metavar="KERNEL",
        nargs="+",
        action="extend",
        required=True,
        help="the kernels (may be repeated)",
    )
    parser.add_argument(
        "--allow",
        metavar="CLASS",
        action="extend",
        nargs="+",
        type=_kind,
        default=[],
        help="a class of findings that is no failure: " + ", ".join(map(str, _ALLOWABLE)),
    )
    add_debug_option(parser, tells="what exactly was inlined, where", several=True)
    parser.add_argument(
        "--by",
        choices=[str(one) for one in _BY],
        default=str(Interface.KPROBE_PERF),
        help="how functions in plain lists of names are attached to (default: %(default)s, as BPF)",
    )
    add_report_options(parser)
    parser.add_argument(
        "--jobs", metavar="N", type=positive_int, default=1, help="processes that share the kernels"
    )
    parser.add_argument(
        "--ask",
        action="store_true",
        help="boot each kernel, and let its own kprobes judge the same probes",
    )
    add_run_option(
        parser,
        boots="each kernel with all probes counted",
        then="let its shell (BusyBox) do LINE: 'ls /proc'",
    )
    add_cpus_option(parser, only="with --ask or --run: ")
    add_timeout_option(
        parser, "give up --run", default=300.0, more=", for each kernel (default 300)"
    )
    parser.set_defaults(run=run)


_BY = (
    Interface.KPROBE_PERF,
    Interface.REGISTER_KPROBE,
    Interface.KPROBE_EVENTS,
    Interface.KPROBE_MULTI,
    Interface.FENTRY,
    Interface.FEXIT,
)
_ALLOWABLE = [kind for kind in Kind if kind.level > 1]


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        known = ", ".join(map(str, _ALLOWABLE))
        raise argparse.ArgumentTypeError(f"there is no class {text!r}: {known}") from None


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors. The exit code tells whether all is well."""
    if not args.sources and not args.texts:
        raise UsageError("name at least one SOURCE, or a probe by -e vfs_read")
    if args.cpus != 1 and not (args.ask or args.lines):
        raise UsageError("--cpus is for kernels that boot: give --ask or --run, too")
    check_reports(args)
    found = compatibility(
        [*args.sources, *(read_text(text, Path("-e")) for text in args.texts)],
        args.kernel,
        by=Interface(args.by),
        jobs=args.jobs,
        ask=args.ask,
        run=Run(tuple(args.lines), args.timeout) if args.lines else None,
        cpus=args.cpus,
        debug=args.debug,
        progress=progress(),
    )
    if not write_reports(args, found, args.allow):
        print_lines([*table(found, args.allow), *hits_table(found)])
    return found.exit_status(args.allow)
