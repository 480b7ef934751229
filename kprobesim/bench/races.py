"""What a schedule of a race costs."""

from __future__ import annotations

from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.bench.sizes import Sizes
from kprobesim.kernel.booted import BootedKernel
from kprobesim.kernel.called import CalledKernel
from kprobesim.races.exploring.exploring import Exhaustive, Explore, pct
from kprobesim.races.planned import call

__all__ = ["booted_race_contest", "race_contest"]

SCHEDULE_MS_AT_MOST = 3.3
"""300 schedules a second."""
_CALLS = {1: "500", 4: "2,000", 10: "5,000"}
"""How many calls of the sample guest's do_fork() are about so many instructions."""
_MANY = 1 << 40
_HASHED = 64  # bytes


def race_contest(guest: CalledKernel, sizes: Sizes) -> Contest:
    """Races of two CPUs of the sample guest, which forks tasks on both."""
    runs = sizes.race_runs

    def contender(
        key: str, count: int, explore: Explore, at_most: float | None, data_races: bool = False
    ) -> Contender:
        def run() -> float:
            forks = [call("do_fork", 0, 0)] * count
            tried = 0

            def race() -> None:
                nonlocal tried
                tried = guest.race(
                    a=forks,
                    b=forks,
                    explore=explore,
                    most_failures=_MANY,
                    data_races=data_races,
                ).schedules

            taken = seconds(race)
            least = 2 if isinstance(explore, Exhaustive) else runs
            check("whether all schedules were tried", tried >= least, True)
            return 1e3 * taken / tried

        how = "exhaustive" if isinstance(explore, Exhaustive) else "pct"
        races = ", data races looked for" if data_races else ""
        label = f"{how}, {_CALLS[count]} instructions a CPU{races}"
        return Contender(key, label, run, Target(None, at_most))

    few = pct(depth=3, runs=runs)
    contenders = [
        contender("exhaustive", 1, Exhaustive(sizes.race_preemptions), SCHEDULE_MS_AT_MOST),
        contender("pct-500", 1, few, SCHEDULE_MS_AT_MOST),
        contender("pct-2000", 4, few, SCHEDULE_MS_AT_MOST),
        contender("pct-5000", 10, few, SCHEDULE_MS_AT_MOST),
        contender("races-500", 1, few, SCHEDULE_MS_AT_MOST, True),
        contender("races-2000", 4, few, SCHEDULE_MS_AT_MOST, True),
    ]
    return Contest(
        guest.arch,
        "races",
        "a schedule of a race",
        "ms",
        "two CPUs of the sample guest fork tasks, nearly all of whose memory they share; a whole "
        "run from its state, judged, by schedules",
        contenders,
        most_rounds=3,
    )


def booted_race_contest(guest: BootedKernel, sizes: Sizes) -> Contest:
    """Races of two CPUs of a booted kernel, which hash some bytes."""
    source = guest.alloc(_HASHED)
    results = [guest.alloc(_HASHED) for _ in range(2)]

    def contender(key: str, label: str, first: int, second: int) -> Contender:
        def run() -> float:
            tried = 0

            def race() -> None:
                nonlocal tried
                tried = guest.race(
                    a=call("sha256", source, _HASHED, first),
                    b=call("sha256", source, _HASHED, second),
                    explore=pct(depth=3, runs=sizes.race_runs),
                    most_failures=_MANY,
                ).schedules

            taken = seconds(race)
            check("whether all schedules were tried", tried >= sizes.race_runs, True)
            return 1e3 * taken / tried

        return Contender(key, label, run, Target(None, SCHEDULE_MS_AT_MOST))

    return Contest(
        guest.arch,
        "races-booted",
        "a schedule of a race in a booted guest",
        "ms",
        f"two CPUs make sha256() of {_HASHED} bytes, 5,000 to 8,000 instructions each, data races "
        "are looked for; a whole run from its state, judged, by schedules",
        [
            contender("apart", "nothing is shared", *results),
            contender("together", "both write to one place", results[0], results[0]),
        ],
        most_rounds=3,
    )
