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
        key: str, count: int, explore: Explore, at_most: float | None, **options: bool
    ) -> Contender:
        def run() -> float:
            forks = [call("do_fork", 0, 0)] * count
            tried = 0

            def race() -> None:
                nonlocal tried
                found = guest.race(
                    a=forks, b=forks, explore=explore, most_failures=_MANY, **options
                )
                tried = found.schedules

            taken = seconds(race)
            check("how many schedules were tried", tried >= runs, True)
            return 1e3 * taken / tried

        how = "exhaustive" if isinstance(explore, Exhaustive) else "pct"
        races = "" if options else ", data races looked for"
        label = f"{how}, {_CALLS[count]} instructions a CPU{races}"
        return Contender(key, label, run, Target(None, at_most))

    few = pct(depth=3, runs=runs)
    plain = {"data_races": False}
    contenders = [
        contender("exhaustive", 1, Exhaustive(1), SCHEDULE_MS_AT_MOST, **plain),
        contender("pct-500", 1, few, SCHEDULE_MS_AT_MOST, **plain),
        contender("pct-2000", 4, few, SCHEDULE_MS_AT_MOST, **plain),
        contender("pct-5000", 10, few, None, **plain),
        contender("races-500", 1, few, SCHEDULE_MS_AT_MOST),
        contender("races-2000", 4, few, None),
    ]
    return Contest(
        guest.arch,
        "races",
        "a schedule of a race",
        "ms",
        "two CPUs of the sample guest fork tasks, nearly all of whose memory they share; a whole run "
        "from its state, judged, by schedules",
        contenders,
        most_rounds=3,
    )
