"""``HitsOnTheirWay``: hits of breakpoints during which a turn, or a run, of a board has ended."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from kprobesim.errors import EngineError
from kprobesim.machine.traps_on_their_way import TrapsOnTheirWay

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["HitsOnTheirWay"]


class HitsOnTheirWay(TrapsOnTheirWay):
    """Those of one board; with one CPU, those that stand still where the run has ended.

    Only breakpoints of ours: the guest's own are seen by its own handlers when those run.
    """

    def __init__(self, board: Board) -> None:
        """Traps may be on their way from now on."""
        turns, machine = board.turns, board.machine
        super().__init__(
            machine,
            self._run_one_block,
            machine.switch_to if turns is None else turns.switch_to,
            self._breakpoints,
        )
        self._machine, self._clock = machine, board.clock
        self.begin()

    def _breakpoints(self) -> Container[int]:
        originals = self._machine.originals
        return () if originals is None else originals.breakpoints

    def _run_one_block(self) -> None:
        """Let the CPU that runs execute one, also in the middle of a run; its time passes."""
        engine, clock = self._machine.engine, self._clock
        done, limit = engine.counter
        if inside := clock.running:
            clock.end()
        clock.begin()
        try:
            status = engine.run(engine.words[engine.layout.pc], 1, holding=True)
        finally:
            clock.end()
            if inside:
                left = max(0, limit - done - min(engine.counter))
                clock.begin()
                engine.counter = 0, left
                engine.code_pages.written = True
                clock.stop_run()
        if status:
            raise EngineError(f"the emulator gave up in a copy: {engine.describe(status)}")
