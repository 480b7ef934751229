"""``StopsAt``: runs pause before instructions, for something that is done between two runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from kprobesim.machine.code_watch import INSIDE

if TYPE_CHECKING:
    from kprobesim.boot.board import Board

__all__ = ["Pauses", "StopsAt"]


class Pauses:
    """Those of one board.

    Attributes:
        wanted: Whether the run is to pause, or has.
        stops: Who wants it to.
    """

    def __init__(self, board: Board) -> None:
        """There are none."""
        self._board = board
        self.wanted = False
        self.stops: list[StopsAt] = []
        self._then: Callable[[], object] | None = None

    def pause(self, address: int, then: Callable[[int], object]) -> None:
        """From the hook of an instruction: let the run stop before it, and ``then(address)`` be.

        That is called between two runs of the engine, and may let the guest run.
        """
        self.wanted, self._then = True, partial(then, address)
        engine = self._board.machine.engine
        engine.stop()
        engine.write_pc(address)

    def do(self) -> None:
        """The run has paused: do what it has paused for."""
        then, self._then, self.wanted = self._then, None, False
        if then is not None:
            then()

    def forget(self) -> None:
        """The guest is another one: nobody has paused yet."""
        self.wanted, self._then = False, None
        for each in self.stops:
            each.forget()


class StopsAt:
    """Pauses of one board, until :meth:`close`.

    A CPU that goes on from there executes the instruction, without another pause.
    """

    def __init__(
        self,
        board: Board,
        addresses: Iterable[int],
        wanted: Callable[[int], bool],
        then: Callable[[int], object],
    ) -> None:
        """Watch ``addresses``.

        Args:
            board: The board.
            addresses: Of instructions.
            wanted: Asked for the address of one that is about to be executed: whether to pause.
            then: Called with it when the run has paused there.
        """
        self._board, self._wanted, self._then = board, wanted, then
        self._passing: dict[int, int] = {}  # by CPU
        watch = board.machine.code_watch
        self._watches = [watch.watch(address, self._arrived, INSIDE) for address in addresses]
        board.pauses.stops.append(self)

    def close(self) -> None:
        """Pause no more."""
        for each in self._watches:
            self._board.machine.code_watch.unwatch(each)
        self._watches.clear()
        stops = self._board.pauses.stops
        if self in stops:
            stops.remove(self)

    def forget(self) -> None:
        """The guest is another one: nobody has paused yet."""
        self._passing.clear()

    def _arrived(self, address: int) -> bool:
        vcpu = self._board.machine.vcpu
        if self._passing.pop(vcpu.number, None) == address:
            return False
        if vcpu.hit_state.is_stepping or not self._wanted(address):
            return False
        self._passing[vcpu.number] = address
        self._board.pauses.pause(address, self._then)
        return True
