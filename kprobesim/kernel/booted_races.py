"""Races in a booted kernel: its kworkers make the calls, each on its CPU, from one state."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.kernel.arguments import code_address, give_back, pass_arguments
from kprobesim.kernel.booted_judge import BootedJudge
from kprobesim.kernel.booted_lanes import BootedLanes
from kprobesim.races.access_kinds import AccessKinds
from kprobesim.races.barriers import Barriers
from kprobesim.races.data_races import DataRaces
from kprobesim.races.planned import PlannedCall
from kprobesim.races.run import Lane
from kprobesim.races.trials import Trials

if TYPE_CHECKING:
    from kprobesim.inside.allocator import GuestAllocator
    from kprobesim.inside.calls import GuestCalls
    from kprobesim.inside.lane_calls import LaneCalls
    from kprobesim.kernel.between import Between
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.races.memory_order import MemoryOrder

__all__ = ["BootedRaces"]

Invariant = Callable[[dict[str, Any]], object]

_SECONDS = 10.0  # of the host's, until a kworker stands where it can call


class BootedRaces:
    """What races need of one kernel; who calls on each CPU is made once."""

    def __init__(self, kernel: BootedKernel, memory: GuestAllocator) -> None:
        """Nothing is raced yet."""
        self._kernel, self._memory = kernel, memory
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
        plan: Mapping[str, Sequence[PlannedCall]],
        invariant: Invariant | None,
        data_races: bool | str,
        memory: MemoryOrder | None,
    ) -> tuple[Trials, ExitStack]:
        """Runs of ``plan``, from where the guest stands; and what ends them.

        Raises:
            UsageError: A call cannot be made, or there are too few CPUs.
        """
        kernel, board = self._kernel, self._kernel.board
        if memory is not None:
            raise UsageError("memory=: only kernels whose functions are called have store buffers")
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
            lanes += [Lane(f"cpu {number}", ()) for number in range(len(plan), board.cpus)]
            callers = self._hold(len(plan))
            state = kernel.fork_state()
            engine = board.machine.engine
            engine.count_instructions()
            stack.callback(engine.count_blocks)
            running = BootedLanes(board, lanes, callers)
            stack.enter_context(running.log)
            judge = stack.enter_context(BootedJudge(kernel, plan, invariant))
            races = barriers = None
            if data_races:
                races = self._data_races(board.cpus, every=data_races == "all")
                if self._kinds.weak:
                    barriers = Barriers(board.machine, kernel.symbols, running.log)
                    stack.enter_context(barriers)

            def reset() -> None:
                kernel.restore_state(state)
                judge.begin()

            what = self._what(plan, lanes)
            trials = Trials(running, reset, [judge], what, races, barriers=barriers)
            return trials, stack.pop_all()

    def _lane(self, name: str, calls: Sequence[PlannedCall], stack: ExitStack) -> Lane:
        kernel, made = self._kernel, []
        for each in calls:
            target = code_address(each.function, kernel.symbols, kernel.machine)
            values, lent = pass_arguments(each.arguments, self._memory, False)
            stack.callback(give_back, lent, self._memory)
            made.append((target, values))
        return Lane(name, made)

    def _hold(self, count: int) -> list[LaneCalls]:
        """Let a kworker of each CPU stand where it can call, all at once."""
        kernel, turns = self._kernel, self._kernel.board.turns
        assert turns is not None
        while len(self._lane_calls) < count:
            self._lane_calls.append(kernel.new_lane_calls())
        callers = self._lane_calls[:count]
        for each in callers:
            each.forget()
        for number, each in enumerate(callers):  # whatever that waits for, all run
            each.hold(number, _SECONDS)
        for number, each in enumerate(callers):  # those that stand stay there
            with turns.alone(number):
                each.hold(number, _SECONDS)
        return callers

    def _data_races(self, cpus: int, *, every: bool) -> DataRaces:
        machine = self._kernel.machine
        return DataRaces(
            self._kinds, cpus, machine.symbolize, self._place, machine.memory, every=every
        )

    @cached_property
    def _kinds(self) -> AccessKinds:
        machine = self._kernel.machine
        return AccessKinds(machine.arch, machine.memory.read, self._function_at)

    def _function_at(self, pc: int) -> str:
        found = self._kernel.symbols.at(pc)
        return "" if found is None else found.symbol.name

    def _place(self, physical: int) -> str:
        """What lies at a physical address, for people: the kernel's own data by symbol."""
        memory, image = self._kernel.machine.memory, self._kernel.image
        for start, end in ((each.vaddr, each.end) for each in image.segments):
            try:
                address = physical - memory.physical(start, 1)[0][0] + start
            except GuestMemoryError:
                continue
            found = self._kernel.symbols.at(address) if start <= address < end else None
            if found is not None:
                return str(found)
        return f"{physical:#x} (physical)"

    def _what(self, plan: Mapping[str, Sequence[PlannedCall]], lanes: Sequence[Lane]) -> int:
        image, board = self._kernel.image, self._kernel.board
        kernel = image.build_id, image.version, image.arch, board.append, board.clock.now()
        calls = [(lane.name, [target for target, _ in lane.calls]) for lane in lanes]
        given = [[str(each) for each in calls] for calls in plan.values()]
        return zlib.crc32(repr((kernel, calls, given)).encode())
