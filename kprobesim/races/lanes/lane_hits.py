"""``LaneHits``: hits on the CPUs of a race, of which some are in the middle of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kprobesim.errors import EngineError
from kprobesim.machine.traps_on_their_way import TrapsOnTheirWay

if TYPE_CHECKING:
    from kprobesim.machine.system import System
    from kprobesim.machine.unicorn.access_log import AccessLog
    from kprobesim.races.lanes.run import Lane

__all__ = ["LaneHits"]


class LaneHits(TrapsOnTheirWay):
    """Those of one race.

    What a CPU does for another one that waits counts as its own, in the run's log, too.
    """

    def __init__(
        self,
        machine: System,
        lanes: Sequence[Lane],
        log: AccessLog,
        marks: list[tuple[int, int, int]],
        *,
        stores_are_late: bool,
    ) -> None:
        """Nothing is on its way.

        Args:
            machine: The CPUs.
            lanes: What each does.
            log: What it accesses.
            marks: Of each part of the log: its first access, the CPU, its instructions before.
            stores_are_late: In the middle of what one CPU does no other one can store then, so that
                nobody waits for steps, but for traps only.
        """
        go_on = None if stores_are_late else self._go_on_here
        super().__init__(machine, go_on, self._go_over)
        self._machine, self._lanes, self._log, self._marks = machine, lanes, log, marks
        self._pc = machine.engine.layout.pc

    def _go_over(self, number: int) -> None:
        self._machine.switch_to(number)
        self._marks.append((len(self._log), number, self._lanes[number].executed))

    def _go_on_here(self) -> None:
        """The CPU that runs executes an instruction, in the middle of what another one does."""
        machine = self._machine
        engine, lane = machine.engine, self._lanes[machine.vcpu.number]
        outer = engine.counter
        try:
            status = engine.run(machine.words[self._pc], 1)
            lane.executed += min(engine.counter)
            lane.at = machine.words[self._pc]
        finally:
            engine.counter = outer
            engine.code_pages.written = True
        if status:
            raise EngineError(f"Unicorn stopped in a copy: {engine.describe(status)}")
