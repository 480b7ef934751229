"""Races in a kernel that is called: its CPUs, its state, and who looks at a run afterwards."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kprobesim.errors import UsageError
from kprobesim.functions.dwarf.source_lines import SourceLines, open_source_lines
from kprobesim.kernel.arguments import code_address, give_back, pass_arguments
from kprobesim.kernel.raced_objects import raced_objects
from kprobesim.races.access_kinds import AccessKinds
from kprobesim.races.barriers import Barriers
from kprobesim.races.data_races import DataRaces
from kprobesim.races.failure import Failure
from kprobesim.races.freeing import Freeing
from kprobesim.races.grace_periods import GracePeriods
from kprobesim.races.judging import judge_results
from kprobesim.races.lanes import Lanes
from kprobesim.races.memory_order import DATAFLOW, ORDERINGS, MemoryOrder
from kprobesim.races.places import DataPlaces
from kprobesim.races.planned import PlannedCall
from kprobesim.races.read_sections import CountedSections, ReadSections, WholeCalls
from kprobesim.races.report import Reporter
from kprobesim.races.run import Lane, Run
from kprobesim.races.schedule import Schedule
from kprobesim.races.sleeping import Sleeping
from kprobesim.races.store_buffers import StoreBuffers
from kprobesim.races.trials import Trials
from kprobesim.races.typed_places import TypedPlaces
from kprobesim.unbooted.more_cpus import MOST_CPUS, MoreCpus

if TYPE_CHECKING:
    from kprobesim.kernel.between import Between
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kernel.called_memory import CalledMemory
    from kprobesim.machine.ram_image import RamImage
    from kprobesim.machine.unicorn.access_log import AccessLog

__all__ = ["CalledRaces"]

Invariant = Callable[[dict[str, Any]], object]


class CalledRaces:
    """What races need of one kernel; the CPUs are made once."""

    def __init__(self, kernel: CalledKernel, memory: CalledMemory) -> None:
        """Have one CPU yet."""
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
        plan: Mapping[str, Sequence[PlannedCall]],
        invariant: Invariant | None,
        data_races: bool | str = True,
        memory: MemoryOrder | None = None,
        debug: Path | None = None,
    ) -> tuple[Trials, ExitStack]:
        """Runs of ``plan``, from the state that the kernel is in; and what ends them.

        Raises:
            UsageError: A call cannot be made, or there cannot be so many CPUs.
        """
        kernel, machine = self._kernel, self._kernel.machine
        with ExitStack() as stack:
            lanes = []
            for name, calls in plan.items():
                made = []
                for each in calls:
                    target = code_address(each.function, kernel.symbols, machine)
                    values, lent = pass_arguments(each.arguments, self._memory, True)
                    stack.callback(give_back, lent, self._memory)
                    made.append((target, values))
                lanes.append(Lane(name, made))
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
            buffers = None if memory is None else self._buffers(memory, state.ram, len(lanes))
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
            self._places.typed = TypedPlaces(
                partial(self._read_first, state.ram),
                raced_objects(kernel.image, plan, lanes, cpus.tasks),
            )
            judge = _Judge(kernel, plan, invariant)
            races = barriers = None
            if data_races:
                places, every = self._places, data_races == "all"
                races = DataRaces(
                    self._kinds,
                    len(lanes),
                    machine.symbolize,
                    places.physical_name,
                    machine.memory,
                    every=every,
                )
                if self._kinds.weak:
                    log = running.log
                    barriers = stack.enter_context(Barriers(machine, kernel.symbols, log))
            trials = Trials(
                running,
                lambda: kernel.restore_state(state),
                [judge],
                self._what(plan, lanes, memory),
                data_races=races,
                reporter=self._reporter(debug),
                barriers=barriers,
            )
            return trials, stack.pop_all()

    def _read_first(self, ram: RamImage, address: int, size: int) -> bytes:
        """What was in memory when the race began."""
        memory = self._kernel.machine.memory
        pieces = memory.physical(address, size)
        return b"".join(ram.read(at - memory.base, length) for at, length in pieces)

    def _function_at(self, pc: int) -> str:
        found = self._kernel.symbols.at(pc)
        return "" if found is None else found.symbol.name

    @cached_property
    def _kinds(self) -> AccessKinds:
        machine = self._kernel.machine
        return AccessKinds(machine.arch, machine.memory.read, self._function_at)

    @cached_property
    def _places(self) -> DataPlaces:
        machine = self._kernel.machine
        return DataPlaces(machine.memory, self._kernel.symbols, machine.heap)

    def _reporter(self, debug: Path | None) -> Reporter:
        kernel, places = self._kernel, self._places

        @cache
        def lines() -> SourceLines | None:
            return open_source_lines(kernel.image, debug)

        def lines_at(address: int) -> list[str]:
            known = lines()
            return [] if known is None else [str(line) for line in known.at(address)]

        return Reporter(
            kernel.machine, kernel.image, self._kinds, places.name, places.virtual, lines_at
        )

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

    def _buffers(
        self, memory: MemoryOrder, ram: RamImage, cpus: int
    ) -> Callable[[AccessLog], StoreBuffers]:
        machine, ordering = self._kernel.machine, ORDERINGS[self._kernel.arch]
        delays = self._delays(memory.delay)

        def make(log: AccessLog) -> StoreBuffers:
            return StoreBuffers(
                log,
                machine,
                ordering,
                delays,
                ram.read,
                cpus,
                fifo=memory.fifo,
                dataflow=None if memory.fifo else DATAFLOW[machine.arch],
            )

        return make

    def _delays(self, names: Sequence[str] | None) -> Callable[[int], bool]:
        """Whether the stores of an instruction at an address are those of these functions."""
        if names is None:
            return lambda _pc: True
        kernel = self._kernel
        for name in names:
            code_address(name, kernel.symbols, kernel.machine)
        return lambda pc: self._function_at(pc).partition(".")[0] in names

    def _what(
        self,
        plan: Mapping[str, Sequence[PlannedCall]],
        lanes: Sequence[Lane],
        memory: MemoryOrder | None,
    ) -> int:
        image = self._kernel.image
        kernel = image.build_id, image.version, image.arch
        calls = [(lane.name, [target for target, _ in lane.calls]) for lane in lanes]
        given = [[str(each) for each in calls] for calls in plan.values()]
        described = (kernel, calls, given) if memory is None else (kernel, calls, given, memory)
        return zlib.crc32(repr(described).encode())


class _Judge:
    """Looks at warnings, and asks the user's invariant."""

    def __init__(
        self,
        kernel: CalledKernel,
        plan: Mapping[str, Sequence[PlannedCall]],
        invariant: Invariant | None,
    ) -> None:
        self._kernel, self._plan, self._invariant = kernel, plan, invariant
        self._warned = len(kernel.warnings)

    def __call__(self, run: Run, schedule: Schedule) -> Failure | None:
        new = self._kernel.warnings[self._warned :]
        if new:
            return Failure("warning", str(new[0]), schedule, trace=new[0].trace)
        return judge_results(self._invariant, self._plan, run, schedule)
