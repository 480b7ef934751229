"""Races in a booted kernel: its kworkers make the calls, each on its CPU, from one state."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from kprobesim.errors import UsageError
from kprobesim.inside.task_sleep import TaskSleep
from kprobesim.kernel.booted_actors import BootedActors
from kprobesim.kernel.booted_judge import BootedJudge
from kprobesim.kernel.booted_lanes import BootedLanes
from kprobesim.kernel.booted_patience import Patience
from kprobesim.kernel.booted_places import BootedPlaces
from kprobesim.kernel.left_state import left_of_board
from kprobesim.kernel.races import Invariant, Plan, Races
from kprobesim.races.exploring.trials import Trials
from kprobesim.races.lanes.run import Lane
from kprobesim.races.planned import PlannedCall

if TYPE_CHECKING:
    from kprobesim.boot.cpu_turns import CpuTurns
    from kprobesim.inside.allocator import GuestAllocator
    from kprobesim.inside.calls import GuestCalls
    from kprobesim.inside.cpu_context import Standing
    from kprobesim.inside.lane_calls import LaneCalls
    from kprobesim.kernel.between import Between
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.races.failures.typed_places import TypedPlaces
    from kprobesim.races.memory.memory_order import MemoryOrder

__all__ = ["BootedRaces"]

_SECONDS = 10.0  # of the host's, until a kworker stands where it can call


class BootedRaces(Races):
    """What races need of one kernel; who calls on each CPU is made once."""

    def __init__(self, kernel: BootedKernel, memory: GuestAllocator, standing: Standing) -> None:
        """Nothing is raced yet.

        Args:
            kernel: The kernel.
            memory: Its own.
            standing: Where the CPU stands that runs.
        """
        super().__init__(kernel, memory, guard=False)
        self._kernel, self._memory, self._standing = kernel, memory, standing
        self._lane_calls: list[LaneCalls] = []

    @cached_property
    def _calls(self) -> GuestCalls:
        """Who calls while another call stands still."""
        return self._kernel.new_calls()

    def between(self, place: tuple[str, int], call: PlannedCall, on: int, times: int) -> Between:
        """See :meth:`~kprobesim.kernel.racing.Racing.between`."""
        from kprobesim.kernel.booted_between import BootedBetween

        cpus = [*self._kernel.board.cpus_on]
        if type(on) is not int or on not in cpus or len(cpus) < 2:
            raise UsageError(
                f"on={on!r}: this guest has the CPUs {cpus}, and one calls while another one "
                "stands still"
            )
        return BootedBetween(self._kernel, self._calls, self._memory, place, call, on, times)

    def trials(
        self,
        plan: Plan,
        invariant: Invariant | None,
        data_races: bool | str = True,
        memory: MemoryOrder | None = None,
        debug: Path | None = None,
    ) -> tuple[Trials, ExitStack]:
        """See :meth:`Races.trials`."""
        kernel, board = self._kernel, self._kernel.board
        on, turns = [*board.cpus_on], board.turns
        if turns is None or on[: len(plan)] != [*range(len(plan))]:
            raise UsageError(
                f"{len(plan)} programs need as many CPUs, from CPU 0 on, and this guest has {on}: "
                "boot it with cpus="
            )
        with ExitStack() as stack:
            before = kernel.fork_state()
            stack.callback(kernel.restore_state, before)
            lanes = [self._lane(name, calls, stack) for name, calls in plan.items()]
            lanes += [Lane("", ()) for _ in range(len(plan), board.cpus)]
            callers = self._hold(len(plan), turns)
            state = kernel.fork_state()
            engine = board.machine.engine
            engine.count_instructions()
            stack.callback(engine.count_blocks)
            stack.callback(kernel.restore_state, state)  # to give back what the calls were lent
            actors = BootedActors(kernel, self._standing, lanes, callers)
            sleep = TaskSleep(kernel.image, board.machine.memory)
            patience = Patience(lanes, callers, actors, sleep, board.machine.symbolize)
            buffers = self._buffers(memory, state.ram, board.cpus)
            running = BootedLanes(board, lanes, callers, actors, patience, buffers)
            stack.enter_context(running.log)
            if running.buffers is not None:
                stack.enter_context(running.buffers.path)
            judge = stack.enter_context(BootedJudge(kernel, plan, invariant, actors.callers))
            workers = [each.task for each in callers]
            typed = self._typed(plan, lanes, [task for task in workers if task], state.ram)
            places = self._places(turns, workers, typed)

            def reset() -> None:
                kernel.restore_state(state)
                judge.begin()

            barriers = self._barriers(data_races, running.log, stack)
            trials = Trials(
                running,
                reset,
                [judge],
                self._what(plan, lanes, memory, board.append, board.clock.now()),
                data_races=self._data_races(data_races, board.cpus, places, actors, debug),
                barriers=barriers,
                flows=self._flows(running, reset),
                reporter=self._reporter(debug, places),
                left=partial(left_of_board, board, state.ram),
            )
            return trials, stack.pop_all()

    def _hold(self, count: int, turns: CpuTurns) -> list[LaneCalls]:
        """Let a kworker of each CPU stand where it can call, all at once."""
        while len(self._lane_calls) < count:
            self._lane_calls.append(self._kernel.new_lane_calls())
        callers = self._lane_calls[:count]
        for each in callers:
            each.forget()
        for number, each in enumerate(callers):  # whatever that waits for, all run
            each.hold(number, _SECONDS)
        for number, each in enumerate(callers):  # those that stand stay there
            with turns.alone(number):
                each.hold(number, _SECONDS)
        return callers

    def _places(self, turns: CpuTurns, workers: Sequence[int], typed: TypedPlaces) -> BootedPlaces:
        per_cpu = {number: self._standing.per_cpu_offset() for number in turns.each()}
        bases = [per_cpu[number] for number in sorted(per_cpu)]
        memory = self._kernel.machine.memory
        return BootedPlaces(self._kernel.image, memory, bases, workers[0] or None, typed)
