"""Sequence counters: who reads what they guard looks again, and takes what it has read back.

``write_seqcount_begin()`` makes the counter odd, ``write_seqcount_end()`` even; a reader loads it
before and behind (include/linux/seqlock.h). KCSAN takes what such a reader does for atomic.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

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
        return any(
            _is_guarded(stores, store.number) and self._looks_again(place, load)
            for place, stores in self._stores[store.cpu].items()
        )

    def _looks_again(self, place: int, load: Seen) -> bool:
        """Whether the counter is loaded before and behind ``load``, and not counted in between."""
        loads = self._loads[load.cpu].get(place, ())
        at = bisect_left(loads, load.number)
        if not 0 < at < len(loads):
            return False
        own = self._stores[load.cpu].get(place, ())
        counted = bisect_left(own, (loads[at - 1], 0))
        return counted == len(own) or own[counted][0] > loads[at]


def _is_guarded(stores: Sequence[tuple[int, int]], number: int) -> bool:
    """Whether a store with this number is one that a counter guards.

    Between an odd and an even value, as in ``write_seqcount_begin()`` and ``_end()``; or of a latch
    (``raw_write_seqcount_latch()``), where readers use the other copy, behind an even one as well.
    """
    at = bisect_left(stores, (number, 0))
    if 0 < at < len(stores) and stores[at - 1][1] & 1:
        return stores[at][1] == stores[at - 1][1] + 1
    return at > 1 and stores[at - 2][1] & 1 == 1 and stores[at - 1][1] == stores[at - 2][1] + 1
