"""Data races as failures: what two accesses that nothing orders are called, and what they touch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kprobesim.errors import GuestMemoryError
from kprobesim.machine.memory import HostAccess
from kprobesim.races.access_kinds import AccessKinds, How
from kprobesim.races.failure import Failure
from kprobesim.races.happens_before import Conflict, HappensBefore
from kprobesim.races.order import Order
from kprobesim.races.run_log import RunLog
from kprobesim.races.schedule import Schedule
from kprobesim.races.seen import Seen

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
    ) -> None:
        """Have judged none.

        Args:
            kinds: What the guest's instructions are.
            cpus: How many CPUs run.
            symbolize: Names the place of an instruction.
            place: Names a physical address of data.
            memory: The guest's.
            every: Also tell of accesses that may be marked.
        """
        self._search = HappensBefore(kinds, cpus)
        self._symbolize, self._place, self._every = symbolize, place, every
        self._memory = memory
        self._messages: dict[tuple[str, int], str] = {}

    def failures(
        self,
        log: RunLog,
        shared: Sequence[tuple[int, int, int]],
        orders: Iterable[Order],
        schedule: Schedule,
    ) -> list[Failure]:
        """The data races of a run, each once.

        Args:
            log: The run's.
            shared: Its accesses to memory that CPUs share.
            orders: See :meth:`HappensBefore.conflicts`.
            schedule: What the run followed.
        """
        found: dict[str, Failure] = {}
        for conflict in self._search.conflicts(log, shared, orders, every=self._every):
            first, second = conflict.first, conflict.second
            if conflict.what == "unordered" and conflict.leads:
                if any(self._leads(pointer, second.physical) for pointer in conflict.leads):
                    conflict = conflict._replace(what="early")
                elif not self._every:
                    continue
            alike = f"{conflict.what} {min(first.pc, second.pc):x} {max(first.pc, second.pc):x}"
            if alike not in found:
                message = self._message(conflict, alike)
                found[alike] = Failure(
                    KIND, message, schedule, second.cpu, details=conflict, alike=alike
                )
                if len(found) >= _MOST:
                    break
        return list(found.values())

    def _leads(self, pointer: int, physical: int) -> bool:
        """Whether ``pointer`` may be one to an object that ``physical`` is in."""
        try:
            start = self._memory.physical(pointer, 1)[0][0]
        except GuestMemoryError:
            return False
        return 0 <= physical - start < _OBJECT

    def _message(self, conflict: Conflict, alike: str) -> str:
        first, second = conflict.first, conflict.second
        key = alike, max(first.physical, second.physical)
        message = self._messages.get(key)
        if message is None:
            both = sorted((first, second), key=lambda seen: (seen.pc, seen.is_store))
            one, two = (f"{_verb(seen)} in {self._symbolize(seen.pc)}" for seen in both)
            what = self._place(key[1])
            message = f"{one} and {two}, both of {what}, and nothing orders them"
            if conflict.what == "early":
                message = f"{one} and {two}, both of {what}: no barrier lies behind the store"
            if conflict.what == "lost update":
                message = f"an update of {what} is lost: {one} and {two}, and nothing orders them"
            self._messages[key] = message
        return message


def _verb(seen: Seen) -> str:
    """What an access is, for people."""
    if seen.how & How.ATOMIC:
        return "an atomic update"
    if seen.how & How.UPDATE:
        return "an update that is not atomic"
    if seen.how & How.FREES and seen.is_store:
        return "a free"
    verb = "a store" if seen.is_store else "a load"
    return f"{verb} that is not atomic" if seen.how & How.MANY else verb
