"""RCU's read-side sections of the CPUs of a kernel that is called: who reads, and since when.

Where the kernel counts them a section is as long as one of the counters is not what it is outside:
``rcu_read_lock_nesting`` of the task (CONFIG_PREEMPT_RCU), and the preempt count
(CONFIG_PREEMPT_COUNT), since a grace period waits for those who cannot be preempted, too (since
4.20, kernel/rcu/tree.c). Where it does not, ``rcu_read_lock()`` leaves no code, and a CPU is
outside wherever it may be scheduled: between two calls, asleep, in ``cond_resched()``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import compress

from kprobesim.machine.memory import GuestMemory
from kprobesim.machine.unicorn.access_log import AccessLog, columns, unpack_record

__all__ = ["CountedSections", "ReadSections", "Span", "ToldSections", "WholeCalls"]

Span = tuple[int, "int | None"]
"""Before which access of the log a section begins, and before which one it is over, if it is."""
_FOLDED = 1 << 31  # of x86's preempt count: PREEMPT_NEED_RESCHED, which is no count
_COUNT = 4  # bytes


class ReadSections(ABC):
    """Those of one run.

    Attributes:
        counted: Whether a section has an end of its own, which a CPU can miss for ever.
    """

    counted = False

    @abstractmethod
    def begin(self) -> None:
        """A run begins: the guest is as it is before it."""

    @abstractmethod
    def quiet(self, cpu: int, *, stays: bool) -> None:
        """CPU ``cpu`` might be scheduled here, and is not reading.

        Args:
            cpu: Its number.
            stays: Whether it stands here until it runs again.
        """

    @abstractmethod
    def runs(self, cpu: int) -> None:
        """CPU ``cpu`` goes on."""

    @abstractmethod
    def inside(self, cpu: int) -> bool:
        """Whether ``cpu`` is in a section now."""

    @abstractmethod
    def spans(self, cpu: int) -> list[Span]:
        """The sections of ``cpu`` until now, in order."""

    def left(self, cpu: int, since: int) -> bool:
        """Whether ``cpu`` is not in the section any more that it was in before an access.

        Args:
            cpu: Its number.
            since: The number of the access in the log.
        """
        if not self.inside(cpu):
            return True
        begin, _ = self.spans(cpu)[-1]
        return begin >= since


class CountedSections(ReadSections):
    """Those that words in memory tell; only the CPU itself writes to its own."""

    counted = True

    def __init__(self, memory: GuestMemory, log: AccessLog, words: Sequence[Sequence[int]]) -> None:
        """No run has begun yet.

        Args:
            memory: The guest's.
            log: The accesses of a run.
            words: By CPU, the addresses of its counters.
        """
        self._memory, self._log, self._words = memory, log, words
        self._places = [
            [memory.physical(word, _COUNT)[0][0] for word in of_cpu] for of_cpu in words
        ]
        self._outside: list[list[int]] = []

    def _values(self, cpu: int) -> list[int]:
        read = self._memory.read
        return [
            int.from_bytes(read(word, _COUNT), "little") & ~_FOLDED for word in self._words[cpu]
        ]

    def begin(self) -> None:
        """See the base."""
        self._outside = [self._values(cpu) for cpu in range(len(self._words))]

    def quiet(self, cpu: int, *, stays: bool) -> None:
        """See the base: the counters tell."""

    def runs(self, cpu: int) -> None:
        """See the base: the counters tell."""

    def inside(self, cpu: int) -> bool:
        """See the base."""
        return self._values(cpu) != self._outside[cpu]

    def spans(self, cpu: int) -> list[Span]:
        """See the base."""
        records = self._log.records()
        _, places, _, stores = columns(records)
        mine, outside = self._places[cpu], self._outside[cpu]
        now, found = [*outside], list[Span]()
        for at in compress(range(len(places)), stores):
            if places[at] not in mine:
                continue
            _, place, value, _, _ = unpack_record(records, at)
            was, which = now != outside, mine.index(place)
            now[which] = value & (1 << 8 * _COUNT) - 1 & ~_FOLDED
            if not was and now != outside:
                found.append((at, None))
            elif was and now == outside:
                found[-1] = found[-1][0], at
        return found


class WholeCalls(ReadSections):
    """Those of kernels that do not count: from where a CPU might be scheduled to the next place."""

    def __init__(self, log: AccessLog, cpus: int) -> None:
        """No run has begun yet.

        Args:
            log: The accesses of a run.
            cpus: How many CPUs there are.
        """
        self._log, self._cpus = log, cpus
        self.begin()

    def begin(self) -> None:
        """See the base."""
        self._spans: list[list[Span]] = [[] for _ in range(self._cpus)]
        self._resting = {*range(self._cpus)}

    def quiet(self, cpu: int, *, stays: bool) -> None:
        """See the base."""
        if cpu in self._resting:
            return
        spans, now = self._spans[cpu], len(self._log)
        spans[-1] = spans[-1][0], now
        if stays:
            self._resting.add(cpu)
        else:
            spans.append((now, None))

    def runs(self, cpu: int) -> None:
        """See the base."""
        if cpu in self._resting:
            self._resting.discard(cpu)
            self._spans[cpu].append((len(self._log), None))

    def inside(self, cpu: int) -> bool:
        """See the base."""
        return cpu not in self._resting

    def spans(self, cpu: int) -> list[Span]:
        """See the base."""
        return self._spans[cpu]


class ToldSections(ReadSections):
    """Those of one ``srcu_struct``, whose functions tell where they begin and end."""

    counted = True

    def __init__(self, log: AccessLog) -> None:
        """No run has begun yet.

        Args:
            log: The accesses of a run.
        """
        self._log = log
        self.begin()

    def begin(self) -> None:
        """See the base."""
        self._spans: dict[int, list[Span]] = {}

    def quiet(self, cpu: int, *, stays: bool) -> None:
        """See the base: readers may sleep."""

    def runs(self, cpu: int) -> None:
        """See the base."""

    def enter(self, cpu: int) -> None:
        """CPU ``cpu`` enters a section."""
        self._spans.setdefault(cpu, []).append((len(self._log), None))

    def leave(self, cpu: int) -> None:
        """CPU ``cpu`` leaves the section that it entered last, or else another CPU's."""
        for number in (cpu, *self._spans):
            spans = self._spans.get(number, [])
            for at in range(len(spans) - 1, -1, -1):
                begin, end = spans[at]
                if end is None:
                    spans[at] = begin, len(self._log)
                    return

    def inside(self, cpu: int) -> bool:
        """See the base."""
        return any(end is None for _, end in self.spans(cpu))

    def left(self, cpu: int, since: int) -> bool:
        """See the base: of sections that lie in each other, all."""
        return all(end is not None or begin >= since for begin, end in self.spans(cpu))

    def spans(self, cpu: int) -> list[Span]:
        """See the base."""
        return self._spans.get(cpu, [])
