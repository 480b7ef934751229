"""Races of the kernel's history: how soon each is found, and whether it comes again.

    python scripts/known_races.py [--arch x86_64] [--replays 100] [--points 200] [NAME...]
    python scripts/known_races.py --kernel amd64.deb arm64.deb

Each race of ``samples/races`` is looked for on both architectures: exhaustively with two
preemptions until it shows, and by priorities (PCT), where it may show otherwise. It is replayed
from its schedule's text so many times, and each must be the same. What mends it is tried with all
schedules that have two preemptions, and with as many by priorities. At last two calls with so many
places where a switch can matter are tried in all ways: there are 2 + p + q + 2pq. In a real kernel
it is first those races that need only its mutexes, with these, then all, with locks that the module
brings. The exit status is 0 if all is as it should be.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "samples")]

from kernel_races import (  # noqa: E402
    KNOWN,
    KNOWN_LATE,
    WITH_MUTEXES,
    KnownRace,
    load_all_races,
    load_mutex_races,
    load_races,
)

from kprobesim import CalledKernel, Failure, ImageError, Kernel, call, pct  # noqa: E402

ALL = KNOWN | {race.name: race for race in KNOWN_LATE}
PCT_RUNS = 2000
ROW = "{:7} {:16} {:10} {:>10} {:>8} {:>6} {:>6} {:>6} {:>12} {:>11} {:>8}"
HEAD = (
    *("arch", "race", "shows as", "schedules", "seconds", "by PCT", "switch", "text", "replayed"),
    *("mended: all", "seconds"),
)


def is_it(race: KnownRace, failure: Failure | None) -> bool:
    """Whether ``failure`` is how ``race`` shows."""
    if failure is None or failure.kind != race.kind:
        return False
    return race.where in " ".join((failure.message, *failure.trace))


def look_for(kernel: CalledKernel, race: KnownRace, replays: int) -> bool:
    """Find, replay and mend one; prints a row. Whether all is as it should be."""
    found = race.race(kernel, "racy", data_races=False)
    failure = found.failure
    if failure is None or not is_it(race, failure):
        print(f"{kernel.arch} {race.name}: not found, but {found}")
        return False
    text = str(failure.schedule)
    same = 0
    for _ in range(replays):
        again = race.race(kernel, "racy", data_races=False, schedule=text).failure
        same += again is not None and (again.message, again.trace) == (
            failure.message,
            failure.trace,
        )
    sampled = race.race(kernel, "racy", data_races=False, explore=pct(runs=PCT_RUNS))
    mended = race.race(kernel, "fixed")
    by_priorities = race.race(
        kernel, "fixed", explore=pct(runs=max(100, found.schedules, sampled.schedules))
    )
    print(
        ROW.format(
            *(kernel.arch, race.name, failure.kind, found.schedules, f"{found.seconds:.2f}"),
            *(sampled.schedules if sampled.failures else "-",),
            *(failure.schedule.preemptions, len(text), f"{same} of {replays}"),
            *(mended.schedules, f"{mended.seconds:.2f}"),
        ),
        flush=True,
    )
    for exploration in (mended, by_priorities):
        if exploration.failures:
            print(f"the mended one fails, too: {exploration}")
    survives = bool(sampled.failures) and not mended.failures and not by_priorities.failures
    return survives and same == replays and len(text) < 1 << 10


def look_in(image: Path, names: Sequence[str], replays: int) -> bool:
    """The same in a real kernel; whether all is as it should be."""
    right = True
    for load, known in ((load_mutex_races, WITH_MUTEXES), (load_all_races, [*ALL])):
        kernel = Kernel.load(image)
        print(f"{image.name}: {load.__name__}", flush=True)
        with tempfile.TemporaryDirectory(prefix="kprobesim-races-") as folder:
            try:
                load(kernel, Path(folder))
            except ImageError as error:
                print(error)
                right = False
                continue
            races = [ALL[name] for name in known if name in names]
            for race in (race for race in races if race.shows_on(kernel.arch)):
                right = look_for(kernel, race, replays) and right
    return right


def count_all(kernel: CalledKernel, points: int) -> bool:
    """Two calls with so many places each, in all ways; prints what that took."""
    stores = call("store_often", points)
    began = time.process_time()
    found = kernel.race(first=stores, second=stores, data_races=False)
    took = time.process_time() - began
    p, q = found.points
    expected = 2 + p + q + 2 * p * q
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{kernel.arch}: two calls of {p} and {q} places: {found.schedules:,} schedules, "
        f"{expected:,} expected, {took:.1f} s of processor time "
        f"({found.schedules / took:,.0f} a second), {memory} MB"
    )
    return found.schedules == expected and min(p, q) == points


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a race; all by default")
    parser.add_argument("--arch", choices=["x86_64", "arm64"], action="append")
    parser.add_argument("--replays", type=int, default=100, metavar="N")
    parser.add_argument("--points", type=int, default=200, metavar="N", help="0: not at all")
    parser.add_argument("--kernel", metavar="IMAGE", nargs="+", help="real ones")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in ALL]
    if unknown:
        parser.error(f"there is no {unknown[0]}, but {', '.join(ALL)}")
    names = options.names or [*ALL]
    if options.kernel:
        print(ROW.format(*HEAD))
        rights = [look_in(Path(image), names, options.replays) for image in options.kernel]
        return 0 if all(rights) else 1
    races = [ALL[name] for name in names]
    print(ROW.format(*HEAD))
    right = True
    for arch in options.arch or ["x86_64", "arm64"]:
        kernel = load_races(arch)
        for race in (race for race in races if race.shows_on(arch)):
            right = look_for(kernel, race, options.replays) and right
        if options.points:
            right = count_all(kernel, options.points) and right
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
