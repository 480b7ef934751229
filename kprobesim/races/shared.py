"""Which memory CPUs share in a run, and where a switch between them can matter."""

from __future__ import annotations

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

    def learn(self, log: RunLog) -> bool:
        """Look at a run; whether there is a place now that was not shared before."""
        before = len(self.places)
        fresh = False
        all_stores = log.columns[3]
        for cpu, _before, first, end in log.parts:
            slots, stores = log.words[first:end], all_stores[first:end]
            used, written = set(slots), set(compress(slots, stores))
            for number, both in log.long(first, end):
                used.update(both)
                written.update(both if all_stores[number] else ())
            if not used <= self._used[cpu] or not written <= self._written[cpu]:
                fresh = True
                self._used[cpu] |= used
                self._written[cpu] |= written
        if fresh:
            for writer, written in self._written.items():
                for user, used in self._used.items():
                    if user != writer:
                        self.places |= written & used
        return len(self.places) > before

    def accesses(self, log: RunLog) -> list[tuple[int, int, int]]:
        """Each access to a shared place: its number in the log, CPU, instructions before it."""
        shared, found = self.places, []
        slots, numbers = log.words, log.columns[0]
        for cpu, before, first, end in log.parts:
            mine = [at for at in range(first, end) if slots[at] in shared]
            more = [at for at, both in log.long(first, end) if not shared.isdisjoint(both)]
            if more:
                mine = sorted({*mine, *more})
            found += [(at, cpu, before + numbers[at] - 1) for at in mine]
        return found
