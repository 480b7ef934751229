"""Which memory CPUs share in a run, and where a switch between them can matter."""

from __future__ import annotations

from collections import defaultdict

from kprobesim.races.run_log import RunLog

__all__ = ["GRAIN", "SharedPlaces"]

GRAIN = 3
"""The binary logarithm of how many bytes are one place."""
_BYTES = 1 << GRAIN


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
        for cpu, _before, _numbers, addresses, sizes, stores in log.parts:
            used = {address >> GRAIN for address in addresses}
            written = {a >> GRAIN for a, store in zip(addresses, stores, strict=True) if store}
            for address, size, store in zip(addresses, sizes, stores, strict=True):
                if (address & _BYTES - 1) + size > _BYTES:  # on two places, or on more
                    both = range(address >> GRAIN, (address + size - 1 >> GRAIN) + 1)
                    used.update(both)
                    written.update(both if store else ())
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

    def accesses(self, log: RunLog) -> list[tuple[int, int, int]]:
        """Each access to a shared place: its number in the log, CPU, instructions before it."""
        places = self.places
        found, index = [], 0
        for cpu, before, numbers, addresses, sizes, _stores in log.parts:
            for at, address in enumerate(addresses):
                if address >> GRAIN in places or (
                    (address & _BYTES - 1) + sizes[at] > _BYTES
                    and address + sizes[at] - 1 >> GRAIN in places
                ):
                    found.append((index + at, cpu, before + numbers[at] - 1))
            index += len(addresses)
        return found
