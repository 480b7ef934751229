"""Which CPU of a board runs, and for how long: turns, switches, and who waits for an interrupt.

A turn ends at a time of the guest's, so where the host looks at the run, or stops it, does not
matter. A CPU that alone can run has no turns: its run ends when another one wakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kprobesim.boot.boot_schedule import BootSchedule, Tick
from kprobesim.boot.exclusive import Exclusive
from kprobesim.boot.hang import LastCalm
from kprobesim.boot.policy import Policy, SwitchPoint, check_policy
from kprobesim.boot.policy_text import policy_text
from kprobesim.boot.recorded import Recorded
from kprobesim.boot.round_robin import RoundRobin
from kprobesim.boot.run_origin import RunOrigin
from kprobesim.boot.spinning import Spinning
from kprobesim.boot.starving import Starving
from kprobesim.boot.state import (
    Below,
    Flag,
    Flags,
    Maybe,
    Number,
    Parts,
    Put,
    Saved,
    fields,
    parse_fields,
    save_fields,
)
from kprobesim.boot.trail import Trail
from kprobesim.errors import UsageError
from kprobesim.machine.stopwatch import BLOCK_NS
from kprobesim.machine.unicorn.spins import watch_spins
from kprobesim.schedule_text import text_of

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["CpuTurns"]


class CpuTurns(Saved):
    """Those of one board of several CPUs.

    Attributes:
        on: By number, whether the CPU is switched on: at first only CPU 0.
        waiting: Whether it waits for an interrupt.
        only: The one CPU that may run now; ``None``: all.
        calm: When each was last seen in good order.
        switches: How often another CPU came to run.
    """

    def __init__(self, board: Board) -> None:
        """CPU 0 is about to run, alone."""
        self._board = board
        self.on = [n == 0 for n in range(board.cpus)]
        board.machine.online = lambda: sum(self.on)
        self.waiting = [False] * board.cpus
        self.calm = [LastCalm() for _ in range(board.cpus)]
        self._policy: Policy = RoundRobin()
        self.only: int | None = None
        self._starving = Starving(board.cpus)
        self._at_place = False
        self._origin = RunOrigin(board)
        self._trail = Trail(0, policy_text(self._policy))
        self.switches = 0
        self._began, self._patient = 0, False
        self._ends: int | None = None
        self._spun_until: int | None = None
        self._spinning = Spinning(board.cpus)
        self._spins = watch_spins(board.machine.engine)
        self._exclusive = Exclusive(board.machine.engine)
        self._pc = board.machine.engine.layout.pc
        flags = Flags(board.cpus)
        self._kinds = fields(
            on=flags,
            waiting=flags,
            calm=Parts(LastCalm.SAVED, board.cpus),
            _began=Number(63),
            _patient=Flag(),
            _ends=Maybe(Number(63)),
            _spun_until=Maybe(Number(63)),
            _spinning=Parts(self._spinning.kinds),
            running=Below(board.cpus),
        )

    def save(self) -> dict[str, Any]:
        """The state as plain data."""
        self._note_spin()
        return save_fields(self, self._kinds)

    def parse(self, state: object, where: str) -> Put:
        """Check ``state``; what is returned puts it in force, and switches to the CPU that ran."""
        if isinstance(state, dict):  # at first it was not kept
            state = {"spun_until": None, **state}
        return parse_fields(self, self._kinds, state, where)

    @property
    def running(self) -> int:
        """The CPU that runs, or ran last."""
        return self._board.machine.vcpu.number

    @running.setter
    def running(self, number: int) -> None:
        self._board.machine.switch_to(number)

    @property
    def ends(self) -> int | None:
        """When the turn ends, in ns of the guest's time; ``None``: when another one wakes."""
        return self._ends

    # -- the policy and its schedule ---------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        """Who chooses the next one; raises :class:`UsageError` for what is no policy."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        check_policy(policy)
        self._policy = policy
        self._trail.policy_changed(self._board.clock.now(), policy_text(policy))

    def begin_anew(self) -> None:
        """A state was loaded: schedules begin there."""
        if isinstance(self._policy, Recorded):
            self._policy = self._policy.last
        self._spins.take()  # of the guest that was
        self._at_place = False
        self._trail = Trail(self._origin.begin_anew(), policy_text(self._policy))
        self._starving.forget()

    def note_origin(self) -> None:
        """The guest is about to run: if for the first time, what it is then is kept."""
        self._origin.note()

    def schedule(self) -> BootSchedule:
        """What has run when since the power was switched on, or a state was loaded."""
        return self._origin.schedule(self._trail)

    def schedule_text(self) -> str:
        """The same as a text, or why there is none."""
        return text_of(self.schedule())

    def follow(self, schedule: BootSchedule) -> None:
        """Let the CPUs run as they did then.

        Raises:
            ScheduleError: It is of another kernel, or of another board, or begins elsewhere.
        """
        now = self._origin.follow(schedule, self._trail.turns)
        self._policy = Recorded(schedule.parts)
        self._trail = Trail(now, "")
        self._trail.expect(schedule.parts, schedule.marks)

    def ticked(self, tick: Tick) -> None:
        """An interrupt was made to come."""
        self._trail.ticks.append(tick)

    def end_turn_here(self, _address: int) -> None:
        """The CPU that runs has come to one of the policy's places."""
        self._ends, self._at_place = self._board.clock.now(), True

    # -- which one runs ----------------------------------------------------------------------------

    def is_runnable(self, number: int) -> bool:
        """Whether CPU ``number`` has anything to do."""
        if self.only is not None and number != self.only:
            return False
        return self.on[number] and (not self.waiting[number] or self._board.wants(number))

    def power_on(self, number: int) -> None:
        """CPU ``number``, whose registers are ready, runs from now on."""
        self.on[number], self.waiting[number] = True, False
        self.calm[number].idled(self._board.clock.now())
        self._board.clock.stop_run()

    def power_off(self, number: int) -> None:
        """CPU ``number`` runs no more."""
        self.on[number] = False
        self._board.clock.stop_run()

    def halt(self) -> None:
        """The CPU that runs waits for an interrupt."""
        self.waiting[self.running] = True

    def _note_spin(self) -> None:
        """If the CPU that runs waits for another one, its turn is over behind one more block."""
        counted = self._spins.take()
        if counted and self._spun_until is None:
            left = counted - min(self._board.machine.engine.counter)
            until = self._spun_until = self._board.clock.now() + max(left, 0) * BLOCK_NS
            self._ends = until if self._ends is None else min(self._ends, until)

    def choose(self) -> bool:
        """Between two runs: let the CPU whose turn it is be the one that runs.

        Returns:
            Whether there is one: else all wait, or are off.

        Raises:
            UsageError: The policy has chosen what cannot run.
        """
        self._note_spin()
        board = self._board
        waiting, wants = self.waiting, board.wants
        runnable = [n for n, on in enumerate(self.on) if on and (not waiting[n] or wants(n))]
        if self.only is not None:
            runnable = [n for n in runnable if n == self.only]
        if not runnable:
            return False
        last, now = self.running, board.clock.now()
        number = last
        if last not in runnable or self._is_over(now):
            spun = self._spun_until is not None and now >= self._spun_until
            number, blocks = self._pick(self._point(now, last, runnable, spun=spun))
            if not self._patient:
                self._spinning.turn_ended(last, now - self._began, spun=spun)
            self.switch_to(number)
            self._begin(now, blocks, runnable)
        elif self._ends is None and len(runnable) > 1:
            blocks = self._blocks()
            self._trail.turned(now, number, blocks, board.machine.words[self._pc])
            self._ends = now + blocks * BLOCK_NS
        if self.waiting[number]:
            self.waiting[number] = False
            self.calm[number].idled(now)
        self._spins.end_turns(self._ends is not None and not self._patient)
        board.hits.arrive()
        board.update_interrupts()
        return True

    def _is_over(self, now: int) -> bool:
        """Whether the turn has come to its end."""
        if self._ends is None or now < self._ends:
            return False
        asked = self._at_place or self._spun_until is not None
        return asked or not self._exclusive.goes_on(now - self._ends)

    def _begin(self, now: int, blocks: int, runnable: list[int]) -> None:
        """A turn begins: of a CPU that is alone, that has something to do, or that only spins."""
        patience = self._spinning.patience(runnable) if len(runnable) > 1 else None
        self._began, self._patient, self._spun_until = now, patience is not None, None
        blocks = blocks if patience is None else min(blocks, patience)
        self._ends = now + blocks * BLOCK_NS if len(runnable) > 1 else None

    def _point(self, now: int, last: int, runnable: list[int], *, spun: bool) -> SwitchPoint:
        why = "time"
        if last not in runnable:
            why = "halt"
        elif self._at_place:
            why = "place"
        elif spun:
            why = "spin"
        self._at_place = False
        return SwitchPoint(now, last, runnable, why)

    def _pick(self, point: SwitchPoint) -> tuple[int, int]:
        policy, runnable = self._policy, point.runnable
        try:
            picked = policy.pick(point)
        except Exception as error:
            raise UsageError(
                f"the policy {policy!r} has raised {type(error).__name__}: {error}; the guest "
                "stands between two turns, and goes on with another policy (k.policy = ...)"
            ) from error
        try:
            number, blocks = picked
        except (TypeError, ValueError):
            raise UsageError(
                f"the policy {policy!r} picks {picked!r}: give a CPU and for how many blocks"
            ) from None
        if number not in runnable:
            here = number in range(len(self.on))
            why = "idle" if here and self.on[number] else "off" if here else "not there"
            raise UsageError(
                f"the policy {policy!r} lets CPU {number} run, which cannot: it is {why}; those "
                f"that can are {runnable}"
            )
        if type(blocks) is not int or blocks < 1:
            raise UsageError(f"the policy {policy!r} gives {blocks!r} blocks: give 1 or more")
        self._starving.check(policy, point, number, self._trail.turns)
        self._trail.turned(point.time, number, blocks, self._board.machine.words[self._pc])
        return number, blocks

    def _blocks(self) -> int:
        """For how long the CPU goes on beside which another one wakes."""
        check_policy(self._policy)
        return self._policy.blocks

    def awake(self) -> None:
        """The CPU that runs waits no more: somebody gave it registers with something to do."""
        self.waiting[self.running] = False

    def each(self) -> Iterator[int]:
        """Between two runs: let each CPU that is on be the one that runs, the present one first.

        Who ends the iteration early leaves it so: that CPU's turn goes on.
        """
        running = self.running
        for number in (running, *(n for n in range(len(self.on)) if n != running and self.on[n])):
            self.switch_to(number)
            yield number
        self.switch_to(running)

    @contextmanager
    def alone(self, number: int) -> Iterator[None]:
        """Between two runs: CPU ``number`` runs, and no other one until the block ends.

        Then the one goes on that runs now.
        """
        stopped, outer = self.running, self.only
        self.only = number
        self.switch_to(number)
        try:
            yield
        finally:
            self.only = outer
            self.switch_to(stopped)
            self._ends = self._board.clock.now() + self._blocks() * BLOCK_NS
            self._spun_until = None

    def switch_to(self, number: int) -> None:
        """Between two runs: let CPU ``number`` be the one that runs."""
        board = self._board
        if number != self.running:
            board.leaving()
            board.machine.switch_to(number)
            board.entered()
            self.switches += 1
