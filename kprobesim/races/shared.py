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

    def learn(self, log: RunLog) -> bool:
        """Look at a run; whether there is a place now that was not shared before."""
        before = len(self.places)
        fresh = False
        for cpu, _before, _numbers, addresses, sizes, stores in log.parts:
            used = {address >> GRAIN for address in addresses}
            written = {a >> GRAIN for a, store in zip(addresses, stores, strict=True) if store}
            for address, size, store in zip(addresses, sizes, stores, strict=True):
                if (address & _BYTES - 1) + size > _BYTES:  # on two places, or on more
                    both = range(address >> GRAIN, (address + size - 1 >> GRAIN) + 1)
                    used.update(both)
                    written.update(both if store else ())
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
