"""``Lanes``: calls on several CPUs of a kernel that is called, run slice by slice.

Each CPU has a lane: calls that it makes one after the other. Slices are counted in instructions,
exactly, so that a run is the same whenever its slices are. Every load and store is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from kprobesim.errors import EngineError, GuestError, ScheduleError
from kprobesim.machine.signals import signals
from kprobesim.machine.unicorn.access_log import AccessLog, read_records
from kprobesim.machine.unicorn.spins import Spins
from kprobesim.races.actors import Actors
from kprobesim.races.lanes.grace_periods import GracePeriods
from kprobesim.races.lanes.lane_hits import LaneHits
from kprobesim.races.lanes.lane_paths import LanePaths
from kprobesim.races.lanes.run import Lane, Plan, Run, Stretch
from kprobesim.races.lanes.sleeping import Asleep, Sleeping
from kprobesim.races.lanes.spinning import is_spinning
from kprobesim.races.memory.store_buffers import StoreBuffers
from kprobesim.races.order import Order
from kprobesim.races.run_log import RunLog
from kprobesim.races.schedule import Early, Slice, place_check

if TYPE_CHECKING:
    from kprobesim.machine.machine import Machine
    from kprobesim.machine.stacks import Stack
    from kprobesim.machine.system import System

__all__ = ["Lanes"]

_CHUNK = 1024  # instructions between two looks whether a CPU waits for another one
_ROUNDS = 12  # of all that wait, each as it has waited before, until it is a deadlock
_TURNS = 4096  # of each that waits in ever new ways, until it is one, too
_MOST = 20_000_000  # instructions of one run


class Lanes:
    """The lanes of one machine, whose CPUs are prepared.

    Attributes:
        lanes: By CPU.
        log: All accesses of the run.
        sleeping: Who stands in for the scheduler.
        actors: Who acts on the CPUs.
        buffers: The CPUs' store buffers; ``None``: all see all at once.
        grace: Who stands in for RCU; ``None``: nobody, or the guest's own does what it must.
        symbolize: Names the place of an instruction.
        most: Instructions of one run.
        paths: Notes what is executed; ``None``: nobody wants to know.
    """

    most = _MOST
    paths: LanePaths | None = None
    sleeping: Asleep
    actors: Actors
    buffers: StoreBuffers | None
    grace: GracePeriods | None
    _early: list[Early]
    _done_early: list[Early]
    _machine: System

    def __init__(
        self,
        machine: Machine,
        stacks: Sequence[Stack],
        lanes: Sequence[Lane],
        sleeping: Sleeping,
        spins: Spins,
        buffers: Callable[[AccessLog], StoreBuffers] | None = None,
        grace: Callable[[AccessLog], GracePeriods] | None = None,
        soft_stacks: Sequence[Stack] = (),
    ) -> None:
        """Nothing has run yet; :meth:`run` wants the guest in the state to begin from."""
        self._machine, self._stacks, self._soft_stacks = machine, stacks, soft_stacks
        self._return_address, self._returned = machine.return_address, machine.returned
        self.lanes = lanes
        self.log = AccessLog(machine.engine)
        self.symbolize = machine.symbolize
        self.buffers = None if buffers is None else buffers(self.log)
        self.grace = None if grace is None else grace(self.log)
        self.sleeping, self._spins = sleeping, spins
        self.actors = Actors(machine, machine.return_address, sleeping.tasks)
        sleeping.clock = self.log.__len__
        self._marks: list[tuple[int, int, int]] = []  # of each run of the engine
        late = self.buffers is not None
        self._traps = LaneHits(machine, lanes, self.log, self._marks, stores_are_late=late)
        self._pc = machine.engine.layout.pc
        self._result = machine.cpu.regs_class.RETURN
        self._bases = []
        for number in range(len(lanes)):
            machine.switch_to(number)
            self._bases.append(machine.engine.new_context())
        machine.switch_to(0)

    def run(self, plan: Plan, *, strict: bool = False) -> Run:
        """Run the slices of ``plan``, and then every CPU to its end.

        Args:
            plan: Gives slices, one behind the other, and sees what came of those before. One
                without steps is over when its CPU's calls are, or when it waits for another one.
            strict: Each must come out as it is recorded.

        Raises:
            ScheduleError: A slice cannot be run, or does not come out as it is recorded.

        What a handler raises is raised; what the guest does wrong is in the result.
        """
        run = Run()
        self._early, self._done_early = [], []
        self.log.clear()
        self._marks.clear()
        self.sleeping.reset()
        if self.grace is not None:
            self.grace.reset()
        if self.buffers is not None:
            self.buffers.clear()
        self._start()
        try:
            with self._around():
                for index, piece in enumerate(plan(run)):
                    self._slice(run, index, piece, strict=strict)
                self._finish(run)
            if self.buffers is not None:
                self.buffers.settle()
        except GuestError as error:
            run.error, run.error_cpu = error, self._machine.vcpu.number
        finally:
            self._end()
        run.results = [lane.results for lane in self.lanes if lane.calls]
        return run

    def _start(self) -> None:
        """Let each CPU be about to make its first call."""
        for number, lane in enumerate(self.lanes):
            lane.executed, lane.results = 0, []
            self._machine.switch_to(number)
            self._bases[number].restore()
            self._begin(number)
        self._machine.switch_to(0)
        if self.grace is not None:
            self.grace.begin()
        self._depths = [vcpu.depth for vcpu in self._machine.vcpus]
        for vcpu in self._machine.vcpus:
            vcpu.depth = 1

    def _around(self) -> AbstractContextManager[object]:
        """What holds for the time of a run."""
        return self._traps

    def _end(self) -> None:
        """The run is over."""
        for vcpu, depth in zip(self._machine.vcpus, self._depths, strict=True):
            vcpu.depth = depth
        self._machine.switch_to(0)

    def _slice(self, run: Run, index: int, piece: Slice, *, strict: bool) -> None:
        lane = self.lanes[piece.cpu]
        if lane.at is None and not self._may_run(piece.cpu):
            raise ScheduleError(
                f"slice {index + 1} of the schedule lets CPU {piece.cpu} run, whose calls are over"
            )
        self._early, self._done_early = [*piece.early], []
        try:
            stretch = self._go(piece.cpu, piece.steps or _MOST, waits=not piece.steps)
        except GuestError:  # the slice that fails is one of the schedule
            run.slices.append(Slice(piece.cpu, early=tuple(self._done_early)))
            raise
        run.stretches.append(stretch)
        check, early = place_check(lane.at or 0), tuple(self._done_early)
        run.slices.append(Slice(piece.cpu, piece.steps and stretch.steps, check, early=early))
        if strict and early != piece.early:
            raise ScheduleError(
                f"the run leaves the schedule in slice {index + 1}: CPU {piece.cpu} does not load "
                "there what it had loaded early"
            )
        if self.buffers is not None:
            run.pending.append(self.buffers.pending())
            held = self.keep(run, piece.held) if piece.held else ()
            if strict and held != piece.held:
                raise ScheduleError(
                    f"the run leaves the schedule in slice {index + 1}: CPU {piece.cpu} has not "
                    "stored then what the others are not to see yet"
                )
        if strict and piece.steps and stretch.steps != piece.steps:
            raise ScheduleError(
                f"the run leaves the schedule in slice {index + 1}: CPU {piece.cpu} was to run for "
                f"{piece.steps} instructions, and its calls were over after {stretch.steps}"
            )
        if strict and piece.check not in (None, check):
            where = "its end" if lane.at is None else self._machine.symbolize(lane.at)
            raise ScheduleError(
                f"the run leaves the schedule in slice {index + 1}: CPU {piece.cpu} comes to "
                f"{where}, not to where it came when it was recorded"
            )

    def keep(self, run: Run, steps: Collection[int]) -> tuple[int, ...]:
        """Let the others not see yet, behind the last slice of ``run``, what its CPU has stored.

        Args:
            run: The run, which waits for its next slice.
            steps: The instructions that have stored it, as in :attr:`.Slice.held`.

        Returns:
            Those that stay so, with what can only be seen behind them.
        """
        assert self.buffers is not None
        held = self.buffers.keep(steps)
        run.slices[-1] = replace(run.slices[-1], held=held)
        return held

    def _may_run(self, _number: int) -> bool:
        """Whether a CPU whose calls are over has anything to do."""
        return False

    def _finish(self, run: Run) -> None:
        """Let each go on to its end, the one behind that which ran last first."""
        count, waited, turns = len(self.lanes), 0, 0
        waits: list[set[Hashable]] = [set() for _ in self.lanes]
        cpu = (run.slices[-1].cpu + 1) % count if run.slices else 0
        while any(lane.at is not None for lane in self.lanes):
            if self.lanes[cpu].at is not None:
                stretch = self._go(cpu, _MOST, waits=True)
                run.stretches.append(stretch)
                run.slices.append(Slice(cpu, 0, place_check(self.lanes[cpu].at or 0)))
                if self.buffers is not None:
                    run.pending.append(self.buffers.pending())
                if stretch.steps >= _MOST:
                    run.stuck, run.endless = [cpu], True
                    return
                if stretch.why == "waits":
                    how = self._how_it_waits(stretch)
                    waited = waited + 1 if how in waits[cpu] else 0
                    waits[cpu].add(how)
                else:
                    waited = 0
                turns += 1
            if waited > _ROUNDS * count or turns > _TURNS * count:
                run.stuck = [n for n, lane in enumerate(self.lanes) if lane.at is not None]
                return
            cpu = (cpu + 1) % count

    def _how_it_waits(self, stretch: Stretch) -> Hashable:
        """What is alike where a CPU that ran last has waited without coming further."""
        stored = {
            (access.physical, access.value)
            for access in read_records(self.log.records(stretch.first))
            if access.is_store
        }
        return tuple(self._machine.words[: self._pc + 1]), frozenset(stored)

    def _begin(self, number: int) -> None:
        """CPU ``number``, which runs, is about to make its next call, if it has one."""
        lane = self.lanes[number]
        done = len(lane.results)
        if self.grace is not None:
            self.grace.rests(number)
        if done == len(lane.calls):
            owes = self.grace is not None and self.grace.owes(number)
            lane.at = self._returned if owes else None
            return
        target, arguments = lane.calls[done]
        self._stacks[number].enter(target, arguments)
        self._machine.words[self._pc] = lane.at = target

    def _go(self, number: int, steps: int, *, waits: bool) -> Stretch:
        """Let CPU ``number`` run for ``steps``; or, if it ``waits``, until it only waits."""
        machine, lane = self._machine, self.lanes[number]
        self._switch_to(number)
        if self.buffers is not None:
            self.buffers.enter(number)
        start, first = lane.executed, len(self.log)
        looked, seen = start, first  # the host may cut a run anywhere, but it is looked at here
        why = "steps"
        while lane.executed - start < steps:
            if self._rests(number):
                why = "waits"
                break
            self._spins.end_turns(waits)
            most = looked + _CHUNK if waits else start + steps
            chunk = min(most, start + steps) - lane.executed
            over = self._run_early(number, chunk) if self._early else self._run(number, chunk)
            asleep, self.sleeping.asleep = self.sleeping.asleep, False
            if asleep and self.grace is not None:
                self.grace.rests(number)
            if over and lane.at is None:
                why = "over"
                break
            spins = self._spins.take() if waits and not over else 0
            if spins > min(machine.engine.counter):
                self._run(number, spins - min(machine.engine.counter))
            whole = waits and not over and lane.executed >= most
            if asleep or spins or (whole and is_spinning(self.log.records(seen))):
                why = "waits"
                break
            if whole or over:
                looked, seen = lane.executed, len(self.log)
            if signals.pending:  # that has cut the chunk short
                machine.turn.deliver()
        if why == "waits" and self.buffers is not None:
            self.buffers.settle()  # what is stored is seen some time
        return Stretch(number, start, lane.executed - start, first, len(self.log), why)

    def _rests(self, number: int) -> bool:
        """Whether CPU ``number`` cannot go on, not even with a callback of RCU's."""
        grace, asleep = self.grace, self.sleeping.sleeps(number)
        if grace is None:
            return asleep
        if grace.calls_back(number):
            return False
        over = self.lanes[number].at == self._returned
        if not (over or asleep or grace.stands(number)):
            return False
        callback = grace.take(number)
        if callback is None:
            return over or asleep or grace.waits(number)
        function, argument = callback
        self._soft_stacks[number].context.save()
        self._soft_stacks[number].enter(function, [argument])
        self._machine.words[self._pc] = self.lanes[number].at = function
        return False

    def _called_back(self, number: int) -> None:
        """A callback is over: CPU ``number`` is where it was before."""
        assert self.grace is not None
        self.grace.called_back(number)
        self._soft_stacks[number].context.restore()
        at = self.lanes[number].at = int(self._machine.words[self._pc])
        if at == self._returned:
            self._begin(number)

    def _switch_to(self, number: int) -> None:
        self._machine.switch_to(number)

    def _run(self, number: int, most: int) -> bool:
        """Run at most so many instructions, but not beyond a call; whether that is over."""
        machine, lane = self._machine, self.lanes[number]
        engine, words = machine.engine, machine.words
        self._traps.arrive()
        at = words[self._pc]
        self._marks.append((len(self.log), number, lane.executed))
        if self.paths is not None:
            self.paths.mark(number, lane.executed)
        if self.grace is not None:
            self.grace.runs(number)
        status = engine.run(at, most)
        done = min(engine.counter)
        at = lane.at = words[self._pc]
        if at == self._return_address and not status:  # the halt is not the function's
            status = engine.run(at, 1)
            at = lane.at = words[self._pc]
        elif at == self._returned:
            done -= 1
        if status:
            what = engine.describe(status)
            raise EngineError(f"Unicorn stopped at {machine.symbolize(at)}: {what}")
        if self.buffers is not None:
            self.buffers.ran(lane.executed, self._marks[-1][0], done)
        lane.executed += done
        if at != self._returned:
            return False
        if self.grace is not None and self.grace.calls_back(number):
            self._called_back(number)
            return True
        lane.results.append(int(words[self._result]))
        self._begin(number)
        return True

    def _run_early(self, number: int, most: int) -> bool:
        """The same, up to the next load that is to be done early, or that one alone."""
        lane, early = self.lanes[number], self._early[0]
        if early.step > lane.executed:
            return self._run(number, min(most, early.step - lane.executed))
        self._early.pop(0)
        if early.step < lane.executed or self.buffers is None:
            return self._run(number, 1)
        with self.buffers.early(early):
            over = self._run(number, 1)
        if self.buffers.was_early:
            self._done_early.append(early)
        return over

    def orders(self) -> list[Order]:
        """What is ordered by wake-ups and grace periods."""
        wakes = self.sleeping.wakes
        found = [Order(at, cpu, to, at) for at, cpu, others in wakes for to in others if to != cpu]
        return found if self.grace is None else found + self.grace.orders()

    def run_log(self) -> RunLog:
        """All loads and stores of the run."""
        return RunLog(self.log.records(), self._marks)


signals.boundaries.add(Lanes._run.__code__)
