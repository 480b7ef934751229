"""``Racing``: calls on several CPUs, and which of their interleavings go wrong."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

from kprobesim.errors import ScheduleError, UsageError
from kprobesim.machine.signals import signals
from kprobesim.notebook import told_in_notebook

if TYPE_CHECKING:
    from contextlib import ExitStack

    from kprobesim.image import KernelImage, SymbolTable
    from kprobesim.kernel.base import Kernel
    from kprobesim.kernel.between import Between
    from kprobesim.kernel.races import Races
    from kprobesim.machine.system import System
    from kprobesim.races.exploring.exploration import Exploration
    from kprobesim.races.exploring.exploring import Explore
    from kprobesim.races.exploring.team import Crew
    from kprobesim.races.exploring.trials import Trials
    from kprobesim.races.invariant import Invariant
    from kprobesim.races.planned import PlannedCall
    from kprobesim.races.schedule import Schedule

__all__ = ["Racing"]


class Racing(ABC):
    """The part of :class:`~kprobesim.kernel.called.CalledKernel` that races calls."""

    machine: System
    image: KernelImage

    @property
    @abstractmethod
    def symbols(self) -> SymbolTable:
        """The kernel's symbols."""

    @property
    @abstractmethod
    def _races(self) -> Races:
        """What races need of this kernel."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """The guest's memory."""

    def race(
        self,
        /,
        *,
        explore: str | Explore = "exhaustive",
        preemptions: int = 2,
        schedule: str | Schedule | None = None,
        invariant: Callable[[dict[str, Any]], object] | str | Invariant | None = None,
        data_races: bool | str = True,
        report: bool = True,
        memory: str | None = None,
        delay: Sequence[str] | str | None = None,
        debug: str | os.PathLike[str] | None = None,
        most_failures: int = 1,
        progress: Callable[[str], None] | None = None,
        executor: int | Crew | None = None,
        **programs: PlannedCall | Sequence[PlannedCall],
    ) -> Exploration:
        """Make calls on several CPUs at once, in many interleavings, each from the same state.

        ``k.race(a=call("f", x), b=call("g", y))`` lets CPU 0 call ``f`` and CPU 1 call ``g``. What
        fails is told with a schedule, a short text that replays the run.

        Args:
            explore: "exhaustive" (all schedules with at most ``preemptions`` preemptions),
                ``pct(depth, runs, seed)`` or ``random_(runs, seed)``.
            preemptions: How often a CPU is stopped at most that could go on.
            schedule: Run this one only: a failure's, or its text.
            invariant: Called after each run with the results by name (a number, or a list where a
                CPU makes several calls); false, a text, or an AssertionError is a failure. Or a
                text with names, numbers and memory that must hold: "a != b and u32(count) == 2".
            data_races: Whether two accesses of one place that nothing orders are a failure. Those
                that may both be marked (``READ_ONCE()``, ``WRITE_ONCE()``), as single aligned loads
                and stores of up to 8 bytes are, are told only with "all".
            report: Whether a failure tells where each CPU stood, who called it, and which locks it
                held: its run is done again for that, with the handlers of probes. (Of an invariant
                that does not hold, and of a warning, there is nothing to look for.)
            memory: How late CPUs see each other's stores: at once, or "tso" (in the order in which
                they were made, as on x86-64) or "weak" (in any order that barriers and releases
                leave open, and loads come early as far as nothing holds them, as on ARM64), until
                a barrier. Each hold and each early load counts as a preemption.
            delay: The functions whose stores and loads that is true of; by default all that run.
            debug: The vmlinux with the kernel's debug information, or the package that has it, for
                source lines in reports; by default the image's own file is looked into.
            most_failures: End when so many different failures were found.
            progress: Hears how far it is; by default a notebook shows it.
            executor: How many copies of this process share the runs, by fork; the result is the
                same. For other executors see :func:`race_on`.
            **programs: By name, what each CPU does: ``call(...)`` or a list of calls.

        Returns:
            What was found. The guest is in the state that it was in.

        Raises:
            UsageError: An argument makes no sense, or the kernel is being used: a race is for
                nobody's handler, and for one thread.
            ScheduleError: ``schedule`` is of another race, or damaged.
            RaceInterrupted: Ctrl-C; it tells what was found so far.

        It raises what a handler of a probe or the invariant raises, too; the guest is in the state
        that it was in then as well.
        """
        from kprobesim.races.exploring.exploration import Exploration, explore_all
        from kprobesim.races.exploring.exploring import as_explore
        from kprobesim.races.exploring.team import Alone
        from kprobesim.races.schedule import Schedule

        parsed = None if schedule is None else Schedule.parse(schedule)
        chosen, crew = as_explore(explore, preemptions), _as_crew(executor)
        if type(most_failures) is not int or most_failures < 1:
            raise UsageError(f"most_failures {most_failures!r}: give a positive number")
        turn = self.machine.turn
        with turn:
            trials, ending = self.open_race(
                programs,
                invariant=invariant,
                data_races=data_races,
                memory=memory,
                delay=delay,
                debug=debug,
            )
            with ending:
                if parsed is None:
                    alone = nullcontext(Alone(trials))
                    with (
                        alone if crew is None else crew.team(trials, turn.deliver) as team,
                        told_in_notebook(progress) as tell,
                    ):
                        return explore_all(
                            team,
                            chosen,
                            most_failures=most_failures,
                            report=report,
                            progress=tell,
                        )
                if (parsed.what, parsed.cpus) != (trials.what, len(programs)):
                    raise ScheduleError(
                        "the schedule is of another race: of another kernel, other calls, or other "
                        "arguments"
                    )
                trial = trials.follow(parsed.slices, strict=True)
                failures = trial.failures
                if report:
                    failures = [trials.report(failure, trial) for failure in failures]
                return Exploration(1, [*failures])

    def open_race(
        self,
        programs: Mapping[str, PlannedCall | Sequence[PlannedCall]],
        *,
        invariant: Callable[[dict[str, Any]], object] | str | Invariant | None = None,
        data_races: bool | str = True,
        memory: str | None = None,
        delay: Sequence[str] | str | None = None,
        debug: str | os.PathLike[str] | None = None,
    ) -> tuple[Trials, ExitStack]:
        """Runs of a race from the state that the guest is in, by whoever has the turn.

        Returns:
            The runs, and what ends them.

        Raises:
            UsageError: As :meth:`race` does.
        """
        from kprobesim.functions.dwarf.debug_file import debug_path
        from kprobesim.functions.dwarf.source_lines import open_source_lines
        from kprobesim.races.memory.memory_order import MemoryOrder
        from kprobesim.races.planned import as_program

        if not programs:
            raise UsageError("no calls to race: write race(a=call('f', ...), b=call('g', ...))")
        plan = {name: as_program(given, name) for name, given in programs.items()}
        if data_races not in (True, False, "all"):
            raise UsageError(f"data_races={data_races!r}: give True, False or 'all'")
        turn = self.machine.turn
        if turn.count > 1 or self.machine.depth:
            raise UsageError(
                "the kernel is in the middle of something: a race cannot be begun in the handler "
                "of a probe, or by an invariant"
            )
        path = debug_path(debug)
        if path is not None:
            open_source_lines(self.image, path)  # what is wrong with it is told before all runs
        order = MemoryOrder.of(memory, delay, self.machine.arch)
        holds = self._as_invariant(invariant, plan)
        opened = self._races.trials(plan, holds, data_races, order, path)
        turn.level = turn.count  # what handlers of probes do is told from what we do
        return opened

    def _as_invariant(
        self, given: object, plan: Mapping[str, Sequence[PlannedCall]]
    ) -> Callable[[dict[str, Any]], object] | None:
        from kprobesim.races.invariant import Invariant

        if isinstance(given, str):
            given = Invariant(given)
        if isinstance(given, Invariant):
            counts = {name: len(calls) for name, calls in plan.items()}
            return given.of(self.read, self._address_of, counts)
        if given is None or callable(given):
            return given
        raise UsageError(f"invariant {given!r}: give a function, or a text such as 'a != b'")

    def _address_of(self, name: str) -> int | None:
        found = self.symbols.candidates(name)
        return found[0].address if found else None

    def between(self, place: str, *, run: PlannedCall, on: int = 1, times: int = 1) -> Between:
        """Make a call on CPU ``on`` whenever another one is about to execute an instruction.

        ``with k.between("f+0x1c", run=call("g"), on=1): k.call("f")`` forces that window of a race:
        CPU 0 comes to the instruction, CPU 1 calls ``g`` to its end, and CPU 0 goes on.

        Args:
            place: The instruction: "f", "f+0x1c" or an address in hex.
            run: What is called, ``call("g", ...)``; its arguments live as long as the block.
            on: The CPU that makes the call.
            times: How often, at most.

        Returns:
            A context manager, whose ``results`` are what the calls have returned. Its end raises
            :class:`UsageError` if there was none.

        Raises:
            SymbolError: There is no such function.
            UsageError: No instruction begins there, or there is no such CPU.

        Within the block :class:`GuestTimeout` is raised where ``g`` waits for the CPU that stands
        still, and whatever else ends a call.
        """
        from kprobesim.kernel.switch_places import instruction_at
        from kprobesim.races.planned import PlannedCall

        if not isinstance(run, PlannedCall):
            raise UsageError(f"run={run!r} is no call: write run=call('g', ...)")
        if type(times) is not int or times < 1:
            raise UsageError(f"times={times!r}: give a positive number")
        address = instruction_at(cast("Kernel", self), place)
        return self._races.between((place, address), run, on, times)


def _as_crew(executor: object) -> Crew | None:
    from kprobesim.races.exploring.forked import Forked

    if executor is None or (executor == 1 and type(executor) is int):
        return None
    if type(executor) is int:
        return Forked(executor)
    if hasattr(executor, "team"):
        return executor
    raise UsageError(
        f"executor {executor!r}: give a number of processes; workers that cannot be copies of this "
        "one must make the kernel themselves: race_on(executor, image, setup)"
    )


signals.boundaries.add(Racing.race.__code__)
