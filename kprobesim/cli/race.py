"""``kprobesim race``: calls on several CPUs at once, and which of their interleavings go wrong."""

from __future__ import annotations

import argparse
import inspect
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kprobesim.cli.call import place_arguments
from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import error_console, make_console, print_json, styled
from kprobesim.cli.expression import Call, parse_calls
from kprobesim.cli.loading import add_image_options, load_kernel, progress
from kprobesim.cli.options import add_debug_option, positive_int
from kprobesim.errors import UsageError

if TYPE_CHECKING:
    from kprobesim.kernel.base import Kernel
    from kprobesim.races.exploration import Exploration
    from kprobesim.races.exploring import Explore
    from kprobesim.races.planned import PlannedCall

__all__ = ["add_parser", "run"]

_EPILOG = """\
Each CALLS is what one CPU does: NAME=CALL; CALL ... with calls as for the command call. A failure
comes with its schedule, a short text that shows it again, at any time and on any machine.

examples:
  kprobesim race vmlinux 'do_fork(0, 0)' 'do_fork(0, 0)'
  kprobesim race vmlinux 'a=do_fork(0, 0)' 'b=do_fork(0, 0)' --data-races no --invariant 'a != b'
  kprobesim race vmlinux 'a=do_fork(0, 0)' 'b=do_fork(0, 0)' --schedule kps1:eNpz4...
  kprobesim race linux-image.deb --block m=64 --block n=64 \\
      --first '__mutex_init(m, 0, 0); __mutex_init(n, 0, 0)' \\
      'mutex_lock(m); mutex_lock(n); mutex_unlock(n)' 'mutex_lock(n); mutex_lock(m)'
  kprobesim race vmlinux 'f(1)' 'g(2)' 'h()' --explore pct --depth 3 --runs 10000

exit code: 0: nothing fails; 1: something does; 2: the command line makes no sense
"""
_NAME = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)")
_MOST_CPUS = 8
_DATA_RACES: dict[str, bool | str] = {"yes": True, "no": False, "all": "all"}
_PERIOD = 2.0  # seconds between two words of progress


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "race",
        help=COMMANDS["race"],
        description="Make calls on several CPUs of a kernel at once, each time from the same state "
        "and switching between them elsewhere, and tell which schedules go wrong: an oops, a "
        "warning, a deadlock, a hang, a data race, or an invariant of yours that does not hold.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument(
        "calls",
        metavar="CALLS",
        nargs="+",
        help="what one CPU does: 'a=f(1, \"text\")' or 'f(); g()'",
    )
    parser.add_argument(
        "--block",
        metavar="NAME=BYTES",
        dest="blocks",
        action="append",
        default=[],
        help="zeroed memory that all calls may name, also as NAME+8; may be repeated",
    )
    parser.add_argument(
        "--first",
        metavar="CALLS",
        action="append",
        default=[],
        help="calls to make before, on one CPU; may be repeated",
    )
    parser.add_argument(
        "--invariant",
        metavar="EXPR",
        help="what must hold after each run: results by name, u32(NAME+8) or u64(symbol) for "
        "memory, s32(a), -ENOMEM, arithmetic, comparisons, and, or, not",
    )
    parser.add_argument(
        "--data-races",
        choices=tuple(_DATA_RACES),
        default="yes",
        help="whether two accesses that nothing orders are a failure (the default); all: also "
        "those that may be marked, as READ_ONCE() and WRITE_ONCE() are",
    )
    parser.add_argument(
        "--memory",
        dest="order",  # of other commands it is how much RAM there is
        choices=("tso", "weak"),
        help="let CPUs see each other's stores late: in their order (tso), or in any that barriers "
        "leave open (weak, ARM64 only)",
    )
    parser.add_argument(
        "--delay",
        metavar="FUNCTION",
        action="append",
        help="with --memory: only the stores of this function are late; may be repeated",
    )
    add_debug_option(parser, tells="source lines in reports")
    parser.add_argument(
        "-o",
        "--output",
        metavar="F",
        help="write the first failure's run to F.perfetto-trace: a track a CPU",
    )
    _add_exploring(parser)
    parser.set_defaults(run=run)


def _add_exploring(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    plan = _plan(args.calls)
    first = [call for text in args.first for call in parse_calls(text)]
    blocks = _blocks(args.blocks, plan)
    explore = _explore(args)
    from kprobesim.kernel.racing import Racing
    from kprobesim.races.exploration import RaceInterrupted
    from kprobesim.races.invariant import Invariant

    kernel = load_kernel(args)
    if not isinstance(kernel, Racing):
        raise UsageError(f"{args.image} cannot be raced: give a kernel image")
    places = {name: kernel.alloc(size) for name, size in blocks.items()}
    for call in first:
        planned = _planned(kernel, call, places)
        kernel.call(planned.function, *planned.arguments)
    programs: dict[str, Any] = {
        name: [_planned(kernel, call, places) for call in calls] for name, calls in plan.items()
    }
    taken = set(programs) & {*inspect.signature(kernel.race).parameters}
    if taken:
        raise UsageError(f"no CPU can be called {min(taken)}: that is the name of an option")
    interrupted: RaceInterrupted | None = None
    try:
        found = kernel.race(
            **programs,
            explore=explore,
            preemptions=2 if args.preemptions is None else args.preemptions,
            schedule=args.schedule,
            invariant=None if args.invariant is None else Invariant(args.invariant, places),
            data_races=_DATA_RACES[args.data_races],
            memory=args.order,
            delay=args.delay,
            debug=args.debug,
            most_failures=args.failures,
            progress=_progress(),
            executor=args.jobs,
        )
    except RaceInterrupted as error:
        interrupted, found = error, error.found
    if args.output is not None and found.failure is not None:
        found.failure.save(args.output)
    if args.json:
        calls = {name: [str(call) for call in calls] for name, calls in programs.items()}
        about = {"arch": kernel.arch, "version": kernel.version, "calls": calls}
        print_json({**about, **found.as_dict(), "interrupted": interrupted is not None})
    else:
        _show(found, interrupted is not None)
    if interrupted is not None:
        raise interrupted
    return 1 if found.failures else 0


def _plan(texts: list[str]) -> dict[str, tuple[Call, ...]]:
    """What each CPU does, by its name."""
    plan: dict[str, tuple[Call, ...]] = {}
    if len(texts) > _MOST_CPUS:
        raise UsageError(f"{len(texts)} CPUs: give calls for 1 to {_MOST_CPUS}")
    for number, text in enumerate(texts):
        named = _NAME.match(text)
        name = named[1] if named else chr(ord("a") + number)
        if name in plan:
            raise UsageError(f"two CPUs are called {name}: give each a name of its own")
        plan[name] = parse_calls(text[named.end() :] if named else text)
    return plan


def _blocks(texts: list[str], plan: Mapping[str, object]) -> dict[str, int]:
    """Sizes by name."""
    blocks: dict[str, int] = {}
    for text in texts:
        name, _, size = text.partition("=")
        if not (name.isidentifier() and size.isascii() and size.isdigit()) or not int(size[:9]):
            raise UsageError(f"--block {text}: write a name and a number of bytes, as in m=64")
        if name in plan or name in blocks:
            raise UsageError(f"--block {text}: {name} is the name of something else already")
        blocks[name] = int(size[:9])
    return blocks


def _explore(args: argparse.Namespace) -> str | Explore:
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
    from kprobesim.races.exploring import pct, random_

    return pct(**given) if args.explore == "pct" else random_(**given)


def _planned(kernel: Kernel, call: Call, places: Mapping[str, int]) -> PlannedCall:
    """A call with its arguments as they are passed; memory for them stays."""
    from kprobesim.races.planned import PlannedCall

    values, _ = place_arguments(kernel, call.arguments, places)
    return PlannedCall(call.function, tuple(values))


def _progress() -> Callable[[str], None] | None:
    """Tells who waits at a terminal how far it is, not too often."""
    tell, told = progress(), time.monotonic()
    if tell is None:
        return None

    def sometimes(text: str) -> None:
        nonlocal told
        if time.monotonic() - told > _PERIOD:
            told = time.monotonic()
            tell(text)

    return sometimes


def _show(found: Exploration, interrupted: bool) -> None:
    console = make_console()
    for failure in found.failures:
        head, *lines = str(failure).splitlines()
        kind, _, message = head.partition(": ")
        console.print(styled((kind, "bold red"), f": {message}"))
        for line in lines:
            console.print(styled(line))
    speed = found.schedules / found.seconds if found.seconds else 0
    count = f"{found.schedules:,} schedules" if found.schedules != 1 else "1 schedule"
    words = f"{len(found.failures) or 'no'} failure{'' if len(found.failures) == 1 else 's'}"
    rate = f", {speed:,.0f} a second" if speed else ""
    console.print(styled((f"{words} in {count}{rate}", "dim" if found.failures else "green")))
    for problem in found.problems:
        error_console().print(styled(f"kprobesim: {problem}"))
    if interrupted:
        error_console().print(styled("kprobesim: not all schedules were tried"))
