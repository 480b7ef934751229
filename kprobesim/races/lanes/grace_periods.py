"""RCU's grace periods in a kernel that is called: nothing in it would ever end one.

Who waits for a grace period stands still until the sections of the other CPUs are over that had
begun; what ``call_rcu()`` was given is called on its CPU after such a time, when the CPU sleeps,
waits, or has made its calls, as a softirq would be. Both orders that RCU promises are told to who
judges the run (Documentation/RCU/Design/Requirements): what a section has done that began before
a grace period comes before what is behind that; and what was done before one comes before what a
section does that is not over with it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from kprobesim.image import KernelImage
from kprobesim.machine.code_watch import INSIDE, INSTRUCTIONS
from kprobesim.machine.unicorn.access_log import AccessLog
from kprobesim.races.lanes.read_sections import ReadSections, ToldSections
from kprobesim.races.lanes.sleeping import Asleep
from kprobesim.races.lanes.stand_in import argument, return_at_once
from kprobesim.races.order import Order

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine

__all__ = ["GracePeriods"]

_SYNCHRONIZE = (
    *("synchronize_rcu", "synchronize_rcu_expedited", "cond_synchronize_rcu"),
    *("cond_synchronize_rcu_full", "cond_synchronize_rcu_expedited"),
    *("synchronize_sched", "synchronize_sched_expedited", "synchronize_rcu_bh"),
    *("synchronize_rcu_tasks", "synchronize_rcu_tasks_rude", "synchronize_rcu_tasks_trace"),
)
_CALL = (
    *("call_rcu", "call_rcu_hurry", "call_rcu_sched", "call_rcu_bh"),
    *("call_rcu_tasks", "call_rcu_tasks_rude", "call_rcu_tasks_trace"),
)
_FREE = "kvfree_call_rcu", "kfree_call_rcu"  # the second until 5.8
_BARRIER = "rcu_barrier", "rcu_barrier_tasks", "rcu_barrier_tasks_rude", "rcu_barrier_tasks_trace"
_SRCU_SYNCHRONIZE = "synchronize_srcu", "synchronize_srcu_expedited"
_SRCU_CALL, _SRCU_BARRIER = ("call_srcu",), ("srcu_barrier",)
_SRCU_ENTER = tuple(f"__srcu_read_lock{end}" for end in ("", "_lite", "_nmisafe"))
_SRCU_LEAVE = tuple(f"__srcu_read_unlock{end}" for end in ("", "_lite", "_nmisafe"))
_QUIET = "rcu_all_qs", "rcu_note_context_switch"
_WAITS = _SYNCHRONIZE, _BARRIER, _SRCU_SYNCHRONIZE, _SRCU_BARRIER
_FREES = "kvfree", "kfree"
_MOST_OFFSET = 4096  # kvfree_rcu()'s offset of the rcu_head, until 6.3; larger: a pointer
_FUNCTION_AT = 8  # rcu_head.func


@dataclass
class _Grace:
    """A grace period.

    Attributes:
        cpu: Who has asked for it.
        start: Before which access of the log.
        sections: Those that it waits for.
        blockers: The CPUs whose sections of then are not over, as far as was looked.
        over: Before which access it is over; ``None``: it is not.
    """

    cpu: int
    start: int
    sections: ReadSections
    blockers: set[int]
    over: int | None = None


@dataclass
class _Callback:
    """What ``call_rcu()`` was given.

    Attributes:
        grace: What it waits for.
        function: What is to be called.
        argument: With what.
        done: Before which access of the log it had returned; ``None``: it has not.
    """

    grace: _Grace
    function: int
    argument: int
    done: int | None = field(default=None)


class GracePeriods:
    """Stands in for RCU in one machine, as a context manager."""

    def __init__(
        self,
        machine: Machine,
        image: KernelImage,
        sleeping: Asleep,
        log: AccessLog,
        sections: ReadSections,
        cpus: int,
    ) -> None:
        """Stand in for nobody yet.

        Args:
            machine: The machine.
            image: Its kernel.
            sleeping: Is told that a CPU has gone to sleep.
            log: The accesses of a run.
            sections: Who reads under RCU.
            cpus: How many CPUs race.
        """
        self._machine, self._image = machine, image
        self._sleeping, self._log, self._sections = sleeping, log, sections
        self._cpus = cpus
        self._ending = ExitStack()
        self.reset()

    def __enter__(self) -> GracePeriods:
        clients: tuple[tuple[tuple[str, ...], Callable[[int], bool]], ...] = (
            (_SYNCHRONIZE, self._synchronize),
            (_CALL, self._call),
            (_FREE, self._free),
            (_BARRIER, self._barrier),
            (_QUIET, self._quiet),
            (_SRCU_SYNCHRONIZE, self._synchronize_srcu),
            (_SRCU_CALL, self._call_srcu),
            (_SRCU_BARRIER, self._barrier),
            (_SRCU_ENTER, self._enter_srcu),
            (_SRCU_LEAVE, self._leave_srcu),
        )
        watch, end = self._machine.code_watch, self._ending.callback
        for names, arrived in clients:
            for address in filter(None, map(self._address, names)):
                # Behind probes, and before them where a CPU that waits comes once more.
                end(watch.unwatch, watch.watch(address, arrived, INSTRUCTIONS))
                if names in _WAITS:
                    again = partial(self._again, arrived)
                    end(watch.unwatch, watch.watch(address, again, INSIDE))
        return self

    def _again(self, arrived: Callable[[int], bool], address: int) -> bool:
        return self.stands(self._machine.vcpu.number) and arrived(address)

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _address(self, name: str) -> int | None:
        found = self._image.symbols.candidates(name)
        return found[0].address if len(found) == 1 else None

    # -- what the lanes tell and ask ---------------------------------------------------------------

    def reset(self) -> None:
        """A run begins."""
        self._graces: list[_Grace] = []
        self._srcu: dict[int, ToldSections] = {}  # by the address of a srcu_struct
        self._waiting: dict[int, _Grace] = {}  # by CPU, who is in synchronize_rcu()
        self._barriers: dict[int, list[_Callback]] = {}  # who is in rcu_barrier(), for what
        self._callbacks: list[_Callback] = []
        self._running: dict[int, _Callback] = {}
        self._ends: list[Order] = []  # of callbacks that rcu_barrier() has waited for

    def begin(self) -> None:
        """The CPUs are about to make their first calls."""
        self._sections.begin()

    def rests(self, cpu: int) -> None:
        """CPU ``cpu``, which may be scheduled here, stands still until it runs again."""
        self._sections.quiet(cpu, stays=True)

    def runs(self, cpu: int) -> None:
        """CPU ``cpu`` goes on."""
        self._sections.runs(cpu)

    def stands(self, cpu: int) -> bool:
        """Whether ``cpu`` has come to a place where it waits for grace periods."""
        return cpu in self._waiting or cpu in self._barriers

    def waits(self, cpu: int) -> bool:
        """Whether ``cpu`` waits for a grace period or a callback that does not come yet."""
        if cpu in self._running:
            return False
        grace = self._waiting.get(cpu)
        if grace is not None:
            return not self._is_over(grace)
        return any(callback.done is None for callback in self._barriers.get(cpu, ()))

    def owes(self, cpu: int) -> bool:
        """Whether callbacks are left that ``cpu`` is to call."""
        return any(each.grace.cpu == cpu and each.done is None for each in self._callbacks)

    def take(self, cpu: int) -> tuple[int, int] | None:
        """The callback that ``cpu`` is to call now, and its argument."""
        if cpu in self._running:
            return None
        for callback in self._callbacks:
            grace = callback.grace
            if grace.cpu == cpu and callback.done is None and self._is_over(grace):
                self._running[cpu] = callback
                return callback.function, callback.argument
        return None

    def calls_back(self, cpu: int) -> bool:
        """Whether ``cpu`` is in a callback."""
        return cpu in self._running

    def called_back(self, cpu: int) -> None:
        """The callback that ``cpu`` was in has returned."""
        self._running.pop(cpu).done = len(self._log)

    def waits_for(self, cpu: int) -> str:
        """What ``cpu`` waits for, in words; "": for nothing of RCU's."""
        grace = self._waiting.get(cpu)
        if grace is None:
            pending = [each for each in self._barriers.get(cpu, ()) if each.done is None]
            if not pending:
                return ""
            grace = pending[0].grace
        readers = " and ".join(f"CPU {number}" for number in sorted(grace.blockers))
        return "a grace period" + f", for which {readers} reads" * bool(readers)

    def orders(self) -> list[Order]:
        """What grace periods and callbacks order in the run until now."""
        over = [grace for grace in self._graces if grace.over is not None]
        found = list(self._ends)
        if not over:
            return found
        for reader in range(self._cpus):
            for grace in over:
                if reader == grace.cpu:
                    continue
                spans = grace.sections.spans(reader)
                assert grace.over is not None
                at, before = grace.over, 0
                for begin, end in spans:
                    if begin < grace.start:
                        before = max(before, 0 if end is None or end > at else end)
                    elif end is None or end > at:
                        found.append(Order(begin, grace.cpu, reader, grace.start))
                if before:
                    found.append(Order(at, reader, grace.cpu, before))
        return found

    # -- what the kernel calls ---------------------------------------------------------------------

    def _begin_grace(self, sections: ReadSections) -> _Grace:
        cpu, inside = self._machine.vcpu.number, sections.inside
        readers = {number for number in range(self._cpus) if number != cpu and inside(number)}
        if sections.counted and inside(cpu):
            readers.add(cpu)
        grace = _Grace(cpu, len(self._log), sections, readers)
        self._graces.append(grace)
        return grace

    def _is_over(self, grace: _Grace) -> bool:
        if grace.over is None:
            left = grace.sections.left
            grace.blockers = {cpu for cpu in grace.blockers if not left(cpu, grace.start)}
            if grace.blockers:
                return False
            grace.over = len(self._log)
        return True

    def _synchronize(self, _address: int) -> bool:
        return self._wait(self._sections)

    def _wait(self, sections: ReadSections) -> bool:
        cpu = self._machine.vcpu.number
        if cpu not in self._waiting:
            self._sections.quiet(cpu, stays=True)
            self._waiting[cpu] = self._begin_grace(sections)
        if not self._is_over(self._waiting[cpu]):
            return self._stand_still()
        grace = self._waiting.pop(cpu)
        grace.over = len(self._log)
        return return_at_once(self._machine)

    def _call(self, _address: int) -> bool:
        return self._call_back(
            self._sections, argument(self._machine, 0), argument(self._machine, 1)
        )

    def _call_back(self, sections: ReadSections, head: int, function: int) -> bool:
        self._machine.memory.write_u64(head + _FUNCTION_AT, function)
        self._callbacks.append(_Callback(self._begin_grace(sections), function, head))
        return return_at_once(self._machine)

    def _srcu_of(self, struct: int) -> ToldSections:
        found = self._srcu.get(struct)
        if found is None:
            found = self._srcu[struct] = ToldSections(self._log)
        return found

    def _synchronize_srcu(self, _address: int) -> bool:
        return self._wait(self._srcu_of(argument(self._machine, 0)))

    def _call_srcu(self, _address: int) -> bool:
        return self._call_back(
            self._srcu_of(argument(self._machine, 0)),
            argument(self._machine, 1),
            argument(self._machine, 2),
        )

    def _enter_srcu(self, _address: int) -> bool:
        self._srcu_of(argument(self._machine, 0)).enter(self._machine.vcpu.number)
        return False

    def _leave_srcu(self, _address: int) -> bool:
        self._srcu_of(argument(self._machine, 0)).leave(self._machine.vcpu.number)
        return False

    def _free(self, _address: int) -> bool:
        head, given = argument(self._machine, 0), argument(self._machine, 1)
        what = head - given if given < _MOST_OFFSET else given
        free = next(filter(None, map(self._address, _FREES)))
        self._callbacks.append(_Callback(self._begin_grace(self._sections), free, what))
        return return_at_once(self._machine)

    def _barrier(self, _address: int) -> bool:
        cpu = self._machine.vcpu.number
        if cpu not in self._barriers:
            self._sections.quiet(cpu, stays=True)
            self._barriers[cpu] = [each for each in self._callbacks if each.done is None]
        if self.waits(cpu):
            return self._stand_still()
        at = len(self._log)
        for callback in self._barriers.pop(cpu):
            if callback.done is not None and callback.grace.cpu != cpu:
                self._ends.append(Order(at, callback.grace.cpu, cpu, callback.done))
        return return_at_once(self._machine)

    def _quiet(self, _address: int) -> bool:
        self._sections.quiet(self._machine.vcpu.number, stays=False)
        return False

    def _stand_still(self) -> bool:
        """Come to this instruction again."""
        self._sleeping.asleep = True
        self._machine.engine.stop()
        self._machine.engine.leave_block()
        return True
