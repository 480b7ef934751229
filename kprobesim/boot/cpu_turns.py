"""Which CPU of a board runs, and for how long: turns, switches, and who waits for an interrupt.

A turn ends at a time of the guest's, so where the host looks at the run, or stops it, does not
matter. A CPU that alone can run has no turns: its run ends when another one wakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kprobesim.boot.hang import LastCalm
from kprobesim.boot.round_robin import Policy, RoundRobin
from kprobesim.boot.spinning import Spinning
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
from kprobesim.errors import UsageError
from kprobesim.machine.stopwatch import BLOCK_NS
from kprobesim.machine.unicorn.spins import watch_spins

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["CpuTurns"]


class CpuTurns(Saved):
    """Those of one board of several CPUs.

    Attributes:
        on: By number, whether the CPU is switched on: at first only CPU 0.
        waiting: Whether it waits for an interrupt.
        policy: Who chooses the next one.
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
        self.policy: Policy = RoundRobin()
        self.switches = 0
        self._began, self._patient = 0, False
        self._ends: int | None = None
        self._spinning = Spinning(board.cpus)
        self._spins = watch_spins(board.machine.engine)
        flags = Flags(board.cpus)
        self._kinds = fields(
            on=flags,
            waiting=flags,
            calm=Parts(LastCalm.SAVED, board.cpus),
            _began=Number(63),
            _patient=Flag(),
            _ends=Maybe(Number(63)),
            _spinning=Parts(self._spinning.kinds),
            running=Below(board.cpus),
        )

    def save(self) -> dict[str, Any]:
        """The state as plain data."""
        self._end_spinning()
        return save_fields(self, self._kinds)

    def parse(self, state: object, where: str) -> Put:
        """Check ``state``; what is returned puts it in force, and switches to the CPU that ran."""
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

    def is_runnable(self, number: int) -> bool:
        """Whether CPU ``number`` has anything to do."""
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

    def _end_spinning(self) -> bool:
        """Whether the CPU that runs waits for another one; then its turn is over."""
        spun = self._spins.take()
        if spun:
            self._ends = self._board.clock.now()
        return spun

    def choose(self) -> bool:
        """Between two runs: let the CPU whose turn it is be the one that runs.

        Returns:
            Whether there is one: else all wait, or are off.

        Raises:
            UsageError: The policy has chosen what cannot run.
        """
        spun = self._end_spinning()
        board = self._board
        runnable = [n for n in range(len(self.on)) if self.is_runnable(n)]
        if not runnable:
            return False
        number, now = self.running, board.clock.now()
        if number not in runnable or (self._ends is not None and now >= self._ends):
            if not self._patient:
                self._spinning.turn_ended(number, now - self._began, spun=spun)
            number, blocks = self._pick(number, runnable)
            self._switch(number)
            self._begin(now, blocks, runnable)
        elif self._ends is None and len(runnable) > 1:
            self._ends = now + self.policy.blocks * BLOCK_NS
        if self.waiting[number]:
            self.waiting[number] = False
            self.calm[number].idled(now)
        self._spins.end_turns(len(runnable) > 1 and not self._patient)
        board.update_interrupts()
        return True

    def _begin(self, now: int, blocks: int, runnable: list[int]) -> None:
        """A turn begins: of a CPU that is alone, that has something to do, or that only spins."""
        patience = self._spinning.patience(runnable) if len(runnable) > 1 else None
        self._began, self._patient = now, patience is not None
        blocks = blocks if patience is None else min(blocks, patience)
        self._ends = now + blocks * BLOCK_NS if len(runnable) > 1 else None

    def _pick(self, last: int, runnable: list[int]) -> tuple[int, int]:
        number, blocks = self.policy.pick(last, runnable)
        if number not in runnable:
            raise UsageError(
                f"the policy {self.policy!r} lets CPU {number} run, which cannot: it is "
                f"{'off' if number not in range(len(self.on)) or not self.on[number] else 'idle'}; "
                f"those that can are {runnable}"
            )
        if type(blocks) is not int or blocks < 1:
            raise UsageError(f"the policy {self.policy!r} gives {blocks!r} blocks: give 1 or more")
        return number, blocks

    def awake(self) -> None:
        """The CPU that runs waits no more: somebody gave it registers with something to do."""
        self.waiting[self.running] = False

    def each(self) -> Iterator[int]:
        """Between two runs: let each CPU that is on be the one that runs, the present one first.

        Who ends the iteration early leaves it so: that CPU's turn goes on.
        """
        running = self.running
        for number in (running, *(n for n in range(len(self.on)) if n != running and self.on[n])):
            self._switch(number)
            yield number
        self._switch(running)

    def _switch(self, number: int) -> None:
        board = self._board
        if number != self.running:
            board.leaving()
            board.machine.switch_to(number)
            board.entered()
            self.switches += 1
