"""Which memory CPUs share in a run, and where a switch between them can matter."""

from __future__ import annotations

from collections import defaultdict

from kprobesim.races.exploring.points import Points
from kprobesim.races.run_log import RunLog

__all__ = ["SharedPlaces"]


class SharedPlaces:
    """What more than one CPU has used in the runs so far, and one of them has written.

    Attributes:
        places: Physical addresses, divided by 8.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._used: dict[int, set[int]] = defaultdict(set)  # by CPU
        self._written: dict[int, set[int]] = defaultdict(set)
        self.places: set[int] = set()

    def learn(self, log: RunLog) -> SharedPlaces:
        """What is known with ``log``: this, or another one if that has anything new."""
        fresh = SharedPlaces()
        for cpu, (used, written) in log.used.items():
            if not (used <= self._used[cpu] and written <= self._written[cpu]):
                fresh._used[cpu] |= used - self._used[cpu]
                fresh._written[cpu] |= written - self._written[cpu]
        return self.with_(fresh) if fresh._used else self

    def with_(self, *others: SharedPlaces) -> SharedPlaces:
        """What is known of all of them together."""
        made = SharedPlaces()
        for each in (self, *others):
            for cpu, used in each._used.items():
                made._used[cpu] |= used
            for cpu, written in each._written.items():
                made._written[cpu] |= written
        for writer, written in made._written.items():
            for user, used in made._used.items():
                if user != writer:
                    made.places |= written & used
        made.places |= self.places
        return made

    def without(self, before: SharedPlaces) -> SharedPlaces:
        """What of it was not known ``before``; its ``places`` are left empty."""
        made = SharedPlaces()
        for cpu, used in self._used.items():
            made._used[cpu] = used - before._used[cpu]
        for cpu, written in self._written.items():
            made._written[cpu] = written - before._written[cpu]
        return made

    def points(self, log: RunLog) -> Points:
        """Where a run has used a shared place."""
        codes = list[int]()
        number = log.columns[0].__getitem__
        for cpu, before, mine in log.touching(self.places):
            codes += map(Points.code(cpu, before - 1).__add__, map(number, mine))
        return Points(codes)
