"""Data races as failures: what two accesses that nothing orders are called, and what they touch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from kprobesim.errors import GuestMemoryError
from kprobesim.machine.memory import HostAccess
from kprobesim.races.actors import Actors
from kprobesim.races.conflicts.access_kinds import AccessKinds, Update
from kprobesim.races.conflicts.happens_before import Conflict, HappensBefore, is_lost
from kprobesim.races.conflicts.marked import MarkedAccesses
from kprobesim.races.conflicts.words import words_of
from kprobesim.races.failures.failure import Failure
from kprobesim.races.order import Order
from kprobesim.races.run_log import RunLog
from kprobesim.races.schedule import Schedule
from kprobesim.races.seen import Seen
from kprobesim.sizes import MASK64

__all__ = ["KIND", "DataRaces"]

KIND = "data race"
"""Of such a failure."""
_OBJECT = 4096  # bytes of one that a pointer leads to, at most
_MOST = 16  # different ones of one run


class DataRaces:
    """Judges runs of one guest by their logs.

    ``KCSAN`` is the model (Documentation/dev-tools/kcsan.rst): it takes plain aligned stores of up
    to eight bytes for atomic (``CONFIG_KCSAN_ASSUME_PLAIN_WRITES_ATOMIC``) and does not count what
    changes no value.
    """

    def __init__(
        self,
        kinds: AccessKinds,
        cpus: int,
        symbolize: Callable[[int], str],
        place: Callable[[int], str],
        memory: HostAccess,
        *,
        every: bool = False,
        marked: MarkedAccesses | None = None,
        actors: Actors | None = None,
    ) -> None:
        """Have judged none.

        Args:
            kinds: What the guest's instructions are.
            cpus: How many CPUs run.
            symbolize: Names the place of an instruction.
            place: Names a physical address of data.
            memory: The guest's.
            every: Also tell of accesses that may be marked.
            marked: Knows which are, where there is debug information.
            actors: Who makes accesses; ``None``: the calls make all.
        """
        self._search = HappensBefore(kinds, cpus)
        self._symbolize, self._place, self._every = symbolize, place, every
        self._actors, self._memory, self._marked = actors, memory, marked
        self._messages: dict[tuple[str, int, tuple[str, str]], str] = {}

    def failures(
        self,
        log: RunLog,
        orders: Iterable[Order],
        schedule: Schedule,
        flow: Callable[[Seen, Seen], Update] | None = None,
    ) -> list[Failure]:
        """The data races of a run, each once.

        Args:
            log: The run's.
            orders: See :meth:`HappensBefore.conflicts`.
            schedule: What the run followed.
            flow: What became of the value of a load in that of a store, where both are far from
                each other; ``None``: nobody knows.
        """
        found: dict[tuple[str, int, int], Failure] = {}
        places = cache(self._place_of)  # of pointers, as long as memory is as it is
        by = self._makers(log)

        def wanted(conflict: Conflict) -> Conflict | None:
            if conflict.leads and conflict.what == "unordered":
                place = conflict.second.physical
                if any(0 <= place - places(pointer) < _OBJECT for pointer in conflict.leads):
                    conflict = conflict._replace(what="early")
                elif not self._every:
                    return None
            if _alike(conflict) in found or all(by(conflict)):
                return None  # all by others: they know why
            if conflict.what == "perhaps lost":
                load, store = conflict.between, conflict.second
                if load is None or flow is None or not is_lost(flow(load, store), conflict):
                    return None
                conflict = conflict._replace(what="lost update")
            if conflict.what == "unordered" and all(
                map(self._is_marked, (conflict.first, conflict.second))
            ):
                return None
            return None if _alike(conflict) in found else conflict

        search = self._search.conflicts(log, orders, every=self._every, wanted=wanted, told=found)
        for conflict in search:
            what, one, two = key = _alike(conflict)
            alike = f"{what} {one:x} {two:x}"
            message, cpu = self._message(conflict, alike, by(conflict)), conflict.second.cpu
            found[key] = Failure(KIND, message, schedule, cpu, details=conflict, alike=alike)
            if len(found) >= _MOST:
                break
        return list(found.values())

    def _is_marked(self, seen: Seen) -> bool:
        """Whether that is known of an access."""
        return self._marked is not None and self._marked.at(seen.pc)

    def _makers(self, log: RunLog) -> Callable[[Conflict], tuple[str, str]]:
        """Who else than the calls has made the accesses of a conflict in a run."""
        actors = self._actors
        if actors is None:
            return lambda _conflict: ("", "")
        who = cache(lambda: actors.of_log(log))  # most runs have no conflict

        def by(conflict: Conflict) -> tuple[str, str]:
            first, second = conflict.first, conflict.second
            return who()(first.number, first.cpu), who()(second.number, second.cpu)

        return by

    def _place_of(self, pointer: int) -> int:
        """The physical address that ``pointer`` leads to, if it is one; else one behind all."""
        try:
            return self._memory.physical(pointer, 1)[0][0]
        except GuestMemoryError:
            return MASK64

    def _message(self, conflict: Conflict, alike: str, by: tuple[str, str]) -> str:
        first, second = conflict.first, conflict.second
        key = alike, max(first.physical, second.physical), by
        message = self._messages.get(key)
        if message is None:
            both = sorted(
                zip((first, second), by, strict=True),
                key=lambda each: (each[0].pc, each[0].is_store),
            )
            one, two = (
                f"{words_of(seen)[0]} in {self._symbolize(seen.pc)}" + f" by {other}" * bool(other)
                for seen, other in both
            )
            what = self._place(key[1])
            message = f"{one} and {two}, both of {what}, and nothing orders them"
            if conflict.what == "unordered":
                marked = [seen for seen, _ in both if self._is_marked(seen)]
                known = f"only that in {self._symbolize(marked[0].pc)}" if marked else "neither"
                message += f"; {known} is known to be marked"
            if conflict.what == "early":
                message = f"{one} and {two}, both of {what}: no barrier lies behind the store"
            if conflict.what == "lost update":
                message = f"an update of {what} is lost: {one} and {two}, and nothing orders them"
            self._messages[key] = message
        return message


def _alike(conflict: Conflict) -> tuple[str, int, int]:
    """What is the same of two conflicts that are told once."""
    one, two = sorted((conflict.first.pc, conflict.second.pc))
    return conflict.what, one, two
