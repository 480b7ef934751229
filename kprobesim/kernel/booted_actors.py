"""``BootedActors``: who acts on the CPUs of a booted kernel: the calls, other tasks, interrupts.

Who has made an access is read off the log of a run itself: a switch of tasks stores the new one's
address (``current_task``, on ARM64 ``__entry_task``, both per CPU), and what serves an interrupt
counts that in ``preempt_count``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from itertools import compress
from typing import TYPE_CHECKING

from kprobesim.errors import GuestMemoryError
from kprobesim.inside.sleeping_task import sleeping_registers
from kprobesim.inside.task_context import context_places, interrupt_bits
from kprobesim.machine.registers import PtRegs
from kprobesim.machine.unicorn.access_log import unpack_record
from kprobesim.races.actors import Actors, Who
from kprobesim.races.lanes.run import Lane
from kprobesim.races.run_log import RunLog
from kprobesim.sizes import MASK32, MASK64

if TYPE_CHECKING:
    from kprobesim.inside.cpu_context import Standing
    from kprobesim.inside.lane_calls import LaneCalls
    from kprobesim.kernel.booted import BootedKernel

__all__ = ["BootedActors"]


class BootedActors(Actors):
    """Those of one guest, whose calls kworkers make.

    Who holds a lock is told by the task, or by the CPU whose interrupt it is.
    """

    def __init__(
        self,
        kernel: BootedKernel,
        standing: Standing,
        lanes: Sequence[Lane],
        calls: Sequence[LaneCalls],
    ) -> None:
        """The guest stands where its runs begin.

        Args:
            kernel: The guest.
            standing: Its CPU that runs.
            lanes: By CPU.
            calls: By CPU, of those that have calls: who makes them.
        """
        super().__init__(kernel.machine, calls[0].returns_to)
        self._kernel, self._lanes = kernel, lanes
        self._workers = [each.task for each in calls]
        self._standing, self._turns = standing, kernel.board.turns
        self._places = context_places(kernel.image)
        self._bits = interrupt_bits(kernel.image.version)
        self.over: list[int | None] = [None] * len(lanes)
        """By CPU, the number of the access from which on its calls were over."""
        self._current: dict[int, int] = {}  # by the physical address that it is stored at: whose
        self._counts: dict[int, int] = {}  # the same of preempt_count
        self._first: list[tuple[int, int]] = []  # by CPU, the task and its count in the beginning
        assert self._turns is not None
        for number in self._turns.each():
            self._look_at(number)

    def _look_at(self, number: int) -> None:
        """Where CPU ``number``, which runs, keeps who runs on it."""
        standing, places = self._standing, self._places
        base, variable = standing.per_cpu_offset(), standing.current.variable
        if variable is not None:
            self._current[self._physical(base + variable)] = number
        if places.preempt_variable is not None:
            self._counts[self._physical(base + places.preempt_variable)] = number

    def _physical(self, address: int) -> int:
        return self._machine.memory.physical(address & MASK64, 1)[0][0]

    def begin(self) -> None:
        """A run begins, where the guest stands."""
        self.over = [None] * len(self._lanes)
        current = {number: place for place, number in self._current.items()}
        counts = {number: place for place, number in self._counts.items()}
        self._first = []
        for number in range(len(self._lanes)):
            task = self._word(current[number], 8) if number in current else 0
            place = counts.get(number)
            if place is None and task and self._places.preempt_member is not None:
                place = self._count_of(task)
            self._first.append((task, 0 if place is None else self._word(place, 4)))

    def _word(self, physical: int, size: int) -> int:
        memory = self._machine.memory
        at = physical - memory.base
        return int.from_bytes(memory.ram[at : at + size], "little")

    def _count_of(self, task: int) -> int | None:
        member = self._places.preempt_member
        try:
            return None if member is None else self._physical(task + member)
        except GuestMemoryError:
            return None

    # -- now ---------------------------------------------------------------------------------------

    def running(self) -> Hashable:
        """The key of who acts now."""
        task = self._standing.task()
        return ("interrupt", self._machine.vcpu.number) if self._serves() else task

    def of_call(self, cpu: int) -> Hashable:
        """The key of a CPU's call."""
        return self._workers[cpu] if cpu < len(self._workers) else None

    def of_task(self, task: int) -> Hashable | None:
        """The key of a task, by its address."""
        return task

    def name(self, key: Hashable) -> str:
        """Who that is, for people, where it is no call."""
        if isinstance(key, tuple):
            return f"an interrupt on CPU {key[1]}"
        return self._task(key) if isinstance(key, int) else "nobody"

    def now(self) -> str:
        """Who acts now on the CPU that runs; "": its call."""
        number, task = self._machine.vcpu.number, self._standing.task()
        over = self._lanes[number].at is None
        return self._say(number, task or 0, self._serves(), over=over)

    def _serves(self) -> str:
        """What interrupt the CPU serves that runs."""
        counters = self._standing.counters()
        try:
            count = self._machine.memory.read_u32(counters[0]) if counters else 0
        except GuestMemoryError:
            return ""
        return self._bits.name(count)

    def _say(self, number: int, task: int, serves: str, *, over: bool) -> str:
        mine = number < len(self._workers) and task == self._workers[number] and not over
        if mine or not task:
            return serves
        name = self._task(task)
        return f"{serves} in {name}" if serves else name

    def _task(self, address: int) -> str:
        tasks = self._kernel.tasks
        found = tasks.at(address) if tasks.are_known else None
        return f"the task at {address:#x}" if found is None else str(found)

    # -- in a run ----------------------------------------------------------------------------------

    def of_log(self, log: RunLog) -> Who:
        """Who has made the accesses of a run, which has just come to its end."""
        count = len(self._lanes)
        since: list[list[int]] = [[0] for _ in range(count)]
        acts: list[list[tuple[int, str]]] = [
            [(task, self._bits.name(counted))] for task, counted in self._first
        ]
        per_task = {self._count_of(task): task for task, _ in self._first if not self._counts}
        places, stores = log.columns[1], log.columns[3]
        for cpu, _before, first, end in log.parts:
            for at in compress(range(first, end), stores[first:end]):
                physical, (task, serves) = places[at], acts[cpu][-1]
                if physical in self._current:
                    new, serves = unpack_record(log.records, at)[2] & MASK64, ""
                    if not self._counts:
                        per_task[self._count_of(new)] = new
                elif physical in self._counts or per_task.get(physical) == task:
                    new = task
                    serves = self._bits.name(unpack_record(log.records, at)[2] & MASK32)
                else:
                    continue
                if (new, serves) != acts[cpu][-1]:
                    since[cpu].append(at)
                    acts[cpu].append((new, serves))
        over = [*self.over]

        def who(number: int, cpu: int) -> str:
            ended = over[cpu]
            task, serves = acts[cpu][bisect_right(since[cpu], number) - 1]
            return self._say(cpu, task, serves, over=ended is not None and number >= ended)

        return who

    # -- calls that stand --------------------------------------------------------------------------

    def registers(self, cpu: int) -> PtRegs:
        """Those with which a CPU's call stands; the CPU is the one that runs from now on."""
        assert self._turns is not None
        self._turns.switch_to(cpu)
        regs = self._machine.regs
        if not self.is_asleep(cpu):
            return regs
        image, memory = self._kernel.image, self._machine.memory
        return sleeping_registers(image, memory, self._workers[cpu], regs) or regs

    def is_asleep(self, cpu: int) -> bool:
        """Whether a CPU's call sleeps, and others run there."""
        assert self._turns is not None
        self._turns.switch_to(cpu)
        return cpu < len(self._workers) and self._standing.task() != self._workers[cpu]
