"""What a schedule of a race costs."""

from __future__ import annotations

from kprobesim.bench.contest import Contender, Contest, Target, check, seconds
from kprobesim.bench.sizes import Sizes
from kprobesim.kernel.called import CalledKernel
from kprobesim.races.exploring import Exhaustive, Explore, pct
from kprobesim.races.planned import call

__all__ = ["race_contest"]

SCHEDULE_MS_AT_MOST = 3.3
"""300 schedules a second."""
_CALLS = {1: "500", 4: "2,000", 10: "5,000"}
"""How many calls of the sample guest's do_fork() are about so many instructions."""
_MANY = 1 << 40


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
        contender("pct-5000", 10, few, None),
        contender("races-500", 1, few, SCHEDULE_MS_AT_MOST, True),
        contender("races-2000", 4, few, None, True),
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
