"""``InterruptAt``: timer interrupts that come right before an instruction."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kprobesim.boot.board import Board
from kprobesim.boot.boot_schedule import Tick
from kprobesim.boot.stops import StopsAt
from kprobesim.errors import UsageError

__all__ = ["InterruptAt"]

_MOST_EVENTS = 64


class InterruptAt:
    """Lets the guest's time pass, at an instruction, until a timer interrupts the CPU there.

    With its interrupts masked there the CPU takes it as soon as it can. In a ``with`` it ends with
    the block.

    Attributes:
        times: When they came, in nanoseconds of the guest's time.
    """

    def __init__(
        self, board: Board, addresses: Iterable[int], wanted: Callable[[Tick], bool]
    ) -> None:
        """Watch the instructions.

        Args:
            board: The board.
            addresses: Of the instructions.
            wanted: Asked at each arrival whether an interrupt is to come there.
        """
        self._board, self._wanted = board, wanted
        self._now = 0
        self.times: list[int] = []
        self._stop = StopsAt(board, addresses, self._arrived, self._tick)

    def __enter__(self) -> InterruptAt:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more come."""
        self._stop.close()

    def _arrived(self, address: int) -> bool:
        self._now = self._board.clock.now()
        return self._wanted(Tick(self._now, address))

    def _tick(self, address: int) -> None:
        board, turns = self._board, self._board.turns
        for _ in range(_MOST_EVENTS):
            if turns is None:
                waits = board.update_interrupts()
            else:
                board.advance()
                waits = board.wants(turns.running)
            if waits:
                break
            event = board.next_event()
            if event is None:
                raise UsageError("no timer is running: no interrupt can come here")
            board.clock.jump(event)
        self.times.append(board.clock.now())
        board.recorded.ticked(Tick(self._now, address))
