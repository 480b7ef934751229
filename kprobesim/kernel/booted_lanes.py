"""``BootedLanes``: the CPUs of a booted kernel, run slice by slice.

Each CPU's calls are made by a kworker of its own; what else the CPU does meanwhile, interrupts and
other tasks, is part of its lane. So calls may sleep: whoever they wait for runs. A CPU whose calls
are over, or that has none, runs when all others wait. Instructions are counted, and each takes as
much of the guest's time as a block does otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING

from kprobesim.boot.faults import GuestEnd
from kprobesim.machine.unicorn.access_log import AccessLog
from kprobesim.machine.unicorn.spins import watch_spins
from kprobesim.races.lanes.lanes import Lanes
from kprobesim.races.lanes.run import Lane, Run, Stretch
from kprobesim.races.lanes.sleeping import Asleep
from kprobesim.races.order import Order
from kprobesim.races.schedule import Slice, place_check

if TYPE_CHECKING:
    from kprobesim.boot.board import Board
    from kprobesim.inside.lane_calls import LaneCalls
    from kprobesim.kernel.booted_actors import BootedActors
    from kprobesim.kernel.booted_patience import Patience
    from kprobesim.races.memory.store_buffers import StoreBuffers

__all__ = ["BootedLanes"]

_BACKGROUND = 20_000  # instructions of a CPU without calls, at a time
_PATIENT, _ONCE_MORE = 8, 2  # waits of each CPU until time is let pass, and until it is again
_STILL = 256  # rounds in which nobody executes anything


class BootedLanes(Lanes):
    """The lanes of a board's CPUs, of which some stand where they can call."""

    actors: BootedActors

    def __init__(
        self,
        board: Board,
        lanes: Sequence[Lane],
        calls: Sequence[LaneCalls],
        actors: BootedActors,
        patience: Patience,
        buffers: Callable[[AccessLog], StoreBuffers] | None = None,
    ) -> None:
        """Nothing has run yet; :meth:`run` wants the guest in the state to begin from.

        Args:
            board: The board.
            lanes: By CPU: as many as there are, those without calls last.
            calls: By CPU, of those that have some: who makes them.
            actors: Who acts on the CPUs.
            patience: Knows whether they wait for ever.
            buffers: Makes the CPUs' store buffers; ``None``: all see all at once.
        """
        assert board.turns is not None
        self._board, self._turns, self._calls = board, board.turns, calls
        self._machine = board.machine
        self.symbolize = board.machine.symbolize
        self.lanes = lanes
        self.log = AccessLog(board.machine.engine)
        self.sleeping, self.actors = Asleep(), actors
        self._until_dead = patience
        self.buffers, self.grace = None if buffers is None else buffers(self.log), None
        self._spins = watch_spins(board.machine.engine)
        self._marks: list[tuple[int, int, int]] = []
        self._pc = board.machine.engine.layout.pc
        self._waited, self._patient = 0, _PATIENT
        self._watching = ExitStack()

    def _start(self) -> None:
        self._waited, self._patient = 0, _PATIENT
        self._until_dead.begin(self._board.clock.now())
        self._watching = ExitStack()
        self.actors.begin()
        for number, lane in enumerate(self.lanes):
            lane.executed, lane.results, lane.at = 0, [], None
            if lane.calls:
                self._turns.switch_to(number)
                self._watching.enter_context(self._calls[number].watching())
                self._begin(number)

    def _around(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _end(self) -> None:
        self._watching.close()

    def _begin(self, number: int) -> None:
        lane, calls = self.lanes[number], self._calls[number]
        done = len(lane.results)
        if done == len(lane.calls):
            lane.at = None
            self.actors.over[number] = len(self.log)
            calls.leave()
            return
        calls.begin(*lane.calls[done])
        lane.at = lane.calls[done][0]

    def _switch_to(self, number: int) -> None:
        self._turns.switch_to(number)

    def _run(self, number: int, most: int) -> bool:
        board, turns, lane = self._board, self._turns, self.lanes[number]
        self._marks.append((len(self.log), number, lane.executed))
        if self.paths is not None:
            self.paths.mark(number, lane.executed)
        board.advance()
        if not turns.is_runnable(number):
            if any(map(turns.is_runnable, board.cpus_on)) and self._waited < self._patience:
                return self._waits()
            self._let_time_pass()
            if not turns.is_runnable(number):
                return self._waits()
        elif self._waited >= self._patience:
            self._let_time_pass()
        turns.awake()
        board.hits.arrive()
        reason = board.run_slice(most)
        done = min(board.machine.engine.counter)
        if self.buffers is not None:
            # Where a call has returned to is counted, and never executed.
            back = lane.at is not None and self._calls[number].has_returned
            self.buffers.ran(lane.executed, self._marks[-1][0], done - back)
        lane.executed += done
        if lane.at is not None:
            lane.at = int(board.machine.words[self._pc])
            calls = self._calls[number]
            if calls.oops is not None:
                raise calls.oops
            result = calls.take_result()
            if result is not None:
                lane.results.append(result)
                self._begin(number)
                self._came_further(number)
                return True
        if reason is not None and board.ended is not None:
            board.fail(GuestEnd, f"the guest ended: {reason}")
        return self._waits() if turns.waiting[number] else False

    @property
    def _patience(self) -> int:
        return self._patient * len(self.lanes)

    def _waits(self) -> bool:
        self.sleeping.asleep = True
        return False

    def _let_time_pass(self) -> None:
        """Everybody waits: go straight to what happens next."""
        board = self._board
        event = board.next_event()
        if event is not None:
            board.clock.jump(event)
            board.advance()
        self._waited, self._patient = 0, _ONCE_MORE

    def _came_further(self, number: int) -> None:
        self._waited, self._patient = 0, _PATIENT
        self._until_dead.came_further(number, self._board.clock.now())

    def _go(self, number: int, steps: int, *, waits: bool) -> Stretch:
        if self.lanes[number].at is None:
            steps, waits = min(steps, _BACKGROUND), True
        stretch = super()._go(number, steps, waits=waits)
        if stretch.why == "waits":
            self._waited += 1
        else:
            self._came_further(number)
        return stretch

    def _may_run(self, number: int) -> bool:
        return True

    def _finish(self, run: Run) -> None:
        run.told = len(run.slices)
        count, still = len(self.lanes), 0
        cpu = (run.slices[-1].cpu + 1) % count if run.slices else 0
        while any(lane.at is not None for lane in self.lanes):
            if self.lanes[cpu].at is not None or self._turns.is_runnable(cpu):
                stretch = self._go(cpu, self.most, waits=True)
                run.stretches.append(stretch)
                run.slices.append(Slice(cpu, 0, place_check(self.lanes[cpu].at or 0)))
                if self.buffers is not None:
                    run.pending.append(self.buffers.pending())
                still = 0 if stretch.steps else still
            still += 1
            run.endless = sum(lane.executed for lane in self.lanes) >= self.most
            over = self._until_dead.is_over(self._board.clock.now())
            if run.endless or over or still > _STILL * count:
                run.stuck = [n for n, lane in enumerate(self.lanes) if lane.at is not None]
                return
            cpu = (cpu + 1) % count

    def orders(self) -> list[Order]:
        """The kernel's own locks order what wakes whom."""
        return []
