"""Which memory CPUs share in a run, and where a switch between them can matter."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from itertools import compress

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
        used: dict[int, set[int]] = defaultdict(set)
        written: dict[int, set[int]] = defaultdict(set)
        grains, stores = log.grains, log.stores
        for cpu, _before, first, end in log.spans:
            used[cpu].update(grains[first:end])
            written[cpu].update(compress(grains[first:end], stores[first:end]))
        for index, cpu, places in log.straddling:
            used[cpu].update(places)
            written[cpu].update(places if stores[index] else ())
        fresh = SharedPlaces()
        for cpu, of_cpu in used.items():
            if not (of_cpu <= self._used[cpu] and written[cpu] <= self._written[cpu]):
                fresh._used[cpu] = of_cpu - self._used[cpu]
                fresh._written[cpu] = written[cpu] - self._written[cpu]
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

    def accesses(self, log: RunLog) -> list[tuple[int, int, int]]:
        """Each access to a shared place: its number in the log, CPU, instructions before it."""
        places, grains, numbers = self.places, log.grains, log.numbers
        found: list[tuple[int, int, int]] = []
        for cpu, before, first, end in log.spans:
            base = before - 1
            found += [
                (at, cpu, base + numbers[at]) for at in range(first, end) if grains[at] in places
            ]
        more = [
            (at, cpu)
            for at, cpu, others in log.straddling
            if grains[at] not in places and not places.isdisjoint(others)
        ]
        for at, cpu in more:
            before = next(span[1] for span in log.spans if span[2] <= at < span[3])
            insort(found, (at, cpu, before - 1 + numbers[at]))
        return found
