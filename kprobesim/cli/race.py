"""``kprobesim race``: calls on several CPUs at once, and which of their interleavings go wrong."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import error_console, print_json, print_lines, styled
from kprobesim.cli.racing.options import DATA_RACES, add_race_options, chosen_explore
from kprobesim.cli.racing.output import check_files, lines, telling, write_files
from kprobesim.cli.racing.plan import Plan

if TYPE_CHECKING:
    from kprobesim.races.exploring.exploration import RaceInterrupted

__all__ = ["add_parser", "run"]

_EPILOG = """\
Each CALLS is what one CPU does: NAME=CALL; CALL ... with calls as for the command call. A failure
comes with its schedule, a short text that shows it again, at any time and on any machine. Ctrl-C
ends it, and what was found until then is told.

examples:
  kprobesim race vmlinux 'do_fork(0, 0)' 'do_fork(0, 0)'
  kprobesim race vmlinux 'a=do_fork(0, 0)' 'b=do_fork(0, 0)' --data-races no --invariant 'a != b'
  kprobesim race vmlinux 'a=do_fork(0, 0)' 'b=do_fork(0, 0)' --schedule kps1:eNpz4...
  kprobesim race linux-image.deb --block m=64 --block n=64 \\
      --first '__mutex_init(m, 0, 0); __mutex_init(n, 0, 0)' \\
      'mutex_lock(m); mutex_lock(n); mutex_unlock(n)' 'mutex_lock(n); mutex_lock(m)'
  kprobesim race vmlinux --module mine.ko 'mine_open(0)' 'mine_close(0)' -o found.html
  kprobesim race linux-image.deb --run 'modprobe null_blk' 'msleep(1)' 'synchronize_rcu()'
  kprobesim race vmlinux 'f(1)' 'g(2)' 'h()' --explore pct --depth 3 --runs 10000

exit code: 0: nothing fails; 1: something does; 2: the command line makes no sense; 130: Ctrl-C
"""


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
    add_race_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    plan, explore = Plan(args), chosen_explore(args)
    check_files(args.files)
    from kprobesim.races.exploring.exploration import RaceInterrupted
    from kprobesim.races.invariant import Invariant

    kernel = plan.open()
    programs: dict[str, Any] = plan.prepare(kernel)
    holds = None if args.invariant is None else Invariant(args.invariant, plan.places)
    interrupted: RaceInterrupted | None = None
    try:
        with telling() as tell:
            found = kernel.race(
                **programs,
                explore=explore,
                preemptions=2 if args.preemptions is None else args.preemptions,
                schedule=args.schedule,
                invariant=holds,
                data_races=DATA_RACES[args.data_races],
                memory=args.order,
                delay=args.delay,
                debug=args.debug,
                most_failures=args.failures,
                progress=tell,
                executor=args.jobs,
            )
    except RaceInterrupted as error:
        interrupted, found = error, error.found
    notes = [*write_files(args.files, found, f"{' | '.join(args.calls)}, {kernel.version}")]
    if args.json:
        calls = {name: [str(call) for call in calls] for name, calls in programs.items()}
        about = {"arch": kernel.arch, "version": kernel.version, "calls": calls}
        print_json({**about, **found.as_dict(), "interrupted": interrupted is not None})
    else:
        print_lines(lines(found))
        notes += found.problems
        if interrupted is not None:
            notes.append("not all schedules were tried")
    for note in notes:
        error_console().print(styled(f"kprobesim: {note}"))
    if interrupted is not None:
        raise interrupted
    return 1 if found.failures else 0
