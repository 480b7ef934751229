"""The options of ``kprobesim race``, and which schedules they ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kprobesim.cli.loading import add_image_options
from kprobesim.cli.options import (
    add_cpus_option,
    add_debug_option,
    add_files_option,
    add_run_option,
    positive_int,
)
from kprobesim.errors import UsageError

if TYPE_CHECKING:
    from kprobesim.races.exploring.exploring import Explore

__all__ = ["DATA_RACES", "add_race_options", "chosen_explore"]

DATA_RACES: dict[str, bool | str] = {"yes": True, "no": False, "all": "all"}


def add_race_options(parser: argparse.ArgumentParser) -> None:
    """All of them."""
    add_image_options(parser)
    parser.add_argument(
        "calls",
        metavar="CALLS",
        nargs="+",
        help="what one CPU does: 'a=f(1, \"text\")' or 'f(); g()'",
    )
    _add_kernel_options(parser)
    _add_failure_options(parser)
    _add_exploring_options(parser)
    output = parser.add_argument_group("what is written")
    add_files_option(
        output,
        writes=", too: .html, a page of what was found; .perfetto-trace, the first failure's "
        "run with a track a CPU; may be repeated",
    )


def _add_kernel_options(parser: argparse.ArgumentParser) -> None:
    kernel = parser.add_argument_group("the kernel, and what is there before")
    kernel.add_argument(
        "--module",
        metavar="MODULE",
        dest="modules",
        action="append",
        default=[],
        help="load this module, a name or a .ko file, and what it depends on; may be repeated",
    )
    kernel.add_argument(
        "--boot",
        action="store_true",
        help="race in the kernel booted to a shell, which is kept for the next time: calls may "
        "sleep then (default: functions are called in a kernel that does nothing else)",
    )
    add_run_option(
        kernel, boots="to a shell, as --boot does", then="let it do LINE before the race"
    )
    add_cpus_option(kernel, only="with --boot or --run: ", default="as many as there are CALLS")
    kernel.add_argument(
        "--block",
        metavar="NAME=BYTES",
        dest="blocks",
        action="append",
        default=[],
        help="zeroed memory that all calls may name, also as NAME+8; may be repeated",
    )
    kernel.add_argument(
        "--first",
        metavar="CALLS",
        action="append",
        default=[],
        help="calls to make before, on one CPU; may be repeated",
    )


def _add_failure_options(parser: argparse.ArgumentParser) -> None:
    fails = parser.add_argument_group("what is a failure, beside oopses, warnings and deadlocks")
    fails.add_argument(
        "--invariant",
        metavar="EXPR",
        help="what must hold after each run: results by name, u32(NAME+8) or u64(symbol) for "
        "memory, s32(a), -ENOMEM, arithmetic, comparisons, and, or, not",
    )
    fails.add_argument(
        "--data-races",
        choices=tuple(DATA_RACES),
        default="yes",
        help="whether two accesses that nothing orders are a failure (the default); all: also "
        "those that may be marked, as READ_ONCE() and WRITE_ONCE() are",
    )
    fails.add_argument(
        "--memory",
        dest="order",  # of other commands it is how much RAM there is
        choices=("tso", "weak"),
        help="let CPUs see each other's stores late: in their order (tso), or in any that barriers "
        "leave open, and load early (weak, ARM64 only)",
    )
    fails.add_argument(
        "--delay",
        metavar="FUNCTION",
        action="append",
        help="with --memory: only this function stores late and loads early; may be repeated",
    )
    add_debug_option(fails, tells="source lines in reports")


def _add_exploring_options(parser: argparse.ArgumentParser) -> None:
    which = parser.add_argument_group("which schedules are tried")
    which.add_argument(
        "--explore",
        choices=("exhaustive", "pct", "random"),
        default="exhaustive",
        help="all with few preemptions (the default), samples by priorities, or random ones",
    )
    which.add_argument(
        "--preemptions",
        metavar="N",
        type=int,
        help="stop a CPU that could go on at most N times in a run (default 2; random: 4)",
    )
    which.add_argument(
        "--depth", metavar="N", type=int, help="pct: so many places must come in order (default 3)"
    )
    which.add_argument(
        "--runs", metavar="N", type=int, help="pct and random: how many (default 1000)"
    )
    which.add_argument(
        "--seed", metavar="N", type=int, help="pct and random: another one tries others (default 1)"
    )
    which.add_argument(
        "--failures",
        metavar="N",
        type=positive_int,
        default=1,
        help="go on until N different failures are found (default 1)",
    )
    which.add_argument(
        "--jobs",
        metavar="N",
        type=positive_int,
        default=1,
        help="share the runs among N processes; the result is the same (default 1)",
    )
    which.add_argument(
        "--schedule", metavar="TEXT", help="run this one only: a failure's, of the same calls"
    )


def chosen_explore(args: argparse.Namespace) -> str | Explore:
    """What is tried; raises :class:`UsageError` for options that have no meaning."""
    counts = {"depth": args.depth, "runs": args.runs, "seed": args.seed}
    counts["preemptions"] = args.preemptions
    known = {
        "exhaustive": ("preemptions",),
        "pct": ("depth", "runs", "seed"),
        "random": ("runs", "seed", "preemptions"),
    }[args.explore]
    given = {name: count for name, count in counts.items() if count is not None}
    for name in given:
        if name not in known:
            raise UsageError(f"--{name} has no meaning with --explore {args.explore}")
    if args.explore == "exhaustive":
        return "exhaustive"
    from kprobesim.races.exploring.exploring import pct, random_

    return pct(**given) if args.explore == "pct" else random_(**given)
