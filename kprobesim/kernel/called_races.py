"""Races in a kernel that is called: its CPUs, its state, and who looks at a run afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from kprobesim.errors import UsageError
from kprobesim.kernel.left_state import left_of_system
from kprobesim.kernel.races import Invariant, Plan, Races
from kprobesim.races.exploring.trials import Trials
from kprobesim.races.failures.failure import Callers, Failure
from kprobesim.races.failures.judging import judge_results
from kprobesim.races.failures.places import DataPlaces
from kprobesim.races.lanes.freeing import Freeing
from kprobesim.races.lanes.grace_periods import GracePeriods
from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.lanes.read_sections import CountedSections, ReadSections, WholeCalls
from kprobesim.races.lanes.run import Run
from kprobesim.races.lanes.sleeping import Sleeping
from kprobesim.races.memory.memory_order import MemoryOrder
from kprobesim.races.planned import PlannedCall
from kprobesim.races.schedule import Schedule
from kprobesim.unbooted.more_cpus import MOST_CPUS, MoreCpus

if TYPE_CHECKING:
    from kprobesim.kernel.between import Between
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kernel.called_memory import CalledMemory
    from kprobesim.machine.unicorn.access_log import AccessLog

__all__ = ["CalledRaces"]


class CalledRaces(Races):
    """What races need of one kernel; the CPUs are made once."""

    def __init__(self, kernel: CalledKernel, memory: CalledMemory) -> None:
        """Have one CPU yet."""
        super().__init__(kernel, memory, guard=True)
        self._kernel, self._memory = kernel, memory
        self._cpus = MoreCpus(kernel.machine, kernel.image)

    def between(self, place: tuple[str, int], call: PlannedCall, on: int, times: int) -> Between:
        """See :meth:`~kprobesim.kernel.racing.Racing.between`."""
        from kprobesim.kernel.called_between import CalledBetween

        if type(on) is not int or not 0 <= on < MOST_CPUS:
            raise UsageError(
                f"on={on!r}: a kernel that is called has the CPUs 0 to {MOST_CPUS - 1}"
            )
        self._kernel.machine.check_idle()
        self._cpus.prepare(max(on + 1, 2))
        return CalledBetween(self._kernel, self._memory, place, call, on, times)

    def trials(
        self,
        plan: Plan,
        invariant: Invariant | None,
        data_races: bool | str = True,
        memory: MemoryOrder | None = None,
        debug: Path | None = None,
    ) -> tuple[Trials, ExitStack]:
        """See :meth:`Races.trials`."""
        kernel, machine = self._kernel, self._kernel.machine
        with ExitStack() as stack:
            lanes = [self._lane(name, calls, stack) for name, calls in plan.items()]
            self._cpus.prepare(len(lanes))
            state = kernel.fork_state()
            engine = machine.engine
            engine.count_instructions()
            stack.callback(engine.count_blocks)
            for mode in ("counts_instructions", "runs_slices"):
                setattr(machine, mode, True)
                stack.callback(setattr, machine, mode, False)
            cpus = self._cpus
            sleeping = stack.enter_context(
                Sleeping(machine, kernel.image, cpus.tasks, cpus.task_state)
            )
            buffers = self._buffers(memory, state.ram, len(lanes))
            grace = self._grace(sleeping, len(lanes))
            running = Lanes(
                machine,
                cpus.stacks,
                lanes,
                sleeping,
                cpus.spins,
                buffers,
                grace,
                cpus.soft_stacks,
            )
            stack.enter_context(running.log)
            stack.enter_context(Freeing(machine, kernel.image, running.log))
            if running.grace is not None:
                stack.enter_context(running.grace)
            if running.buffers is not None:
                stack.enter_context(running.buffers.path)
            stack.callback(kernel.restore_state, state)
            self._places.typed = self._typed(plan, lanes, cpus.tasks, state.ram)
            barriers = self._barriers(data_races, running.log, stack)
            reset = partial(kernel.restore_state, state)
            trials = Trials(
                running,
                reset,
                [_Judge(kernel, plan, invariant, running.actors.callers)],
                self._what(plan, lanes, memory),
                data_races=self._data_races(
                    data_races, len(lanes), self._places, running.actors, debug
                ),
                barriers=barriers,
                flows=self._flows(running, reset),
                reporter=self._reporter(debug, self._places),
                left=partial(left_of_system, machine, state.ram),
            )
            return trials, stack.pop_all()

    @cached_property
    def _places(self) -> DataPlaces:
        machine = self._kernel.machine
        return DataPlaces(machine.memory, self._kernel.symbols, machine.heap)

    def _grace(self, sleeping: Sleeping, count: int) -> Callable[[AccessLog], GracePeriods] | None:
        """Who stands in for the kernel's RCU; ``None``: it has none."""
        kernel, cpus = self._kernel, self._cpus
        if cpus.exported("synchronize_rcu") is None or cpus.exported("call_rcu") is None:
            return None
        machine, words = kernel.machine, cpus.reader_words()

        def make(log: AccessLog) -> GracePeriods:
            sections: ReadSections = (
                WholeCalls(log, count)
                if words is None
                else CountedSections(machine.memory, log, words[:count])
            )
            return GracePeriods(machine, kernel.image, sleeping, log, sections, count)

        return make


class _Judge:
    """Looks at warnings, and asks the user's invariant."""

    def __init__(
        self,
        kernel: CalledKernel,
        plan: Plan,
        invariant: Invariant | None,
        callers: Callers,
    ) -> None:
        self._kernel, self._plan, self._invariant = kernel, plan, invariant
        self._callers = callers
        self._warned = len(kernel.warnings)

    def __call__(self, run: Run, schedule: Schedule) -> Failure | None:
        new = self._kernel.warnings[self._warned :]
        if new:
            warning = new[0]
            trace = tuple(self._callers(warning.trace))
            return Failure("warning", str(warning), schedule, trace=trace, at=warning.address)
        return judge_results(self._invariant, self._plan, run, schedule)
