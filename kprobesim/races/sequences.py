"""Sequence counters: who reads what they guard looks again, and takes what it has read back.

``write_seqcount_begin()`` makes the counter odd, ``write_seqcount_end()`` even; a reader loads it
before and behind (include/linux/seqlock.h). KCSAN takes what such a reader does for atomic.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from kprobesim.races.run_log import RunLog
from kprobesim.races.seen import Seen

__all__ = ["Sequences"]

_COUNTERS = (4, 8)  # bytes


class Sequences:
    """What of one run may be a sequence counter."""

    def __init__(self, log: RunLog) -> None:
        """Look through a run.

        Args:
            log: The run's.
        """
        self._loads: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._stores: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for number, cpu, _step, _pc, physical, value, size, is_store in log.contested:
            if size not in _COUNTERS:
                continue
            if is_store:
                self._stores[cpu][physical].append((number, value))
            else:
                self._loads[cpu][physical].append(number)

    def check(self, first: Seen, second: Seen) -> bool:
        """Whether one of two accesses is a load that a counter of the other's CPU guards."""
        if first.is_store == second.is_store:
            return False
        load, store = (second, first) if first.is_store else (first, second)
        for place, stores in self._stores[store.cpu].items():
            at = bisect_left(stores, (store.number, 0))
            if not 0 < at < len(stores) or place in self._stores[load.cpu]:
                continue
            odd, even = stores[at - 1][1], stores[at][1]
            loads = self._loads[load.cpu].get(place)
            if odd & 1 and even == odd + 1 and loads and loads[0] < load.number < loads[-1]:
                return True
        return False
