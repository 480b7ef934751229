"""A booted guest's state in memory, and the way back to it: the base of campaigns.

A state holds the registers, the devices and a copy of the RAM. Going back costs what was touched:
the pages written since are dropped, and what was translated from them is forgotten. Probes are not
the guest's but the user's: they stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kprobesim.boot.board import Board
from kprobesim.machine.fork_state import ForkState, state_of
from kprobesim.machine.ram_image import RamImage
from kprobesim.machine.written_pages import PAGE

__all__ = ["Forks"]


class Forks:
    """The states of one ``board``.

    ``keep()`` gives what somebody else remembers of the guest, for ``give_back`` to take when the
    guest is as it was then.
    """

    def __init__(
        self, board: Board, keep: Callable[[], Any], give_back: Callable[[Any], None]
    ) -> None:
        self._board = board
        self._keep = keep
        self._give_back = give_back
        self._current: ForkState | None = None

    def fork(self) -> ForkState:
        """The state as it is now; raises :class:`UsageError` while the guest runs."""
        board = self._board
        board.check_stopped()
        before = self._current.ram if self._current is not None else None
        plain = board.save_state()
        put = board.parse_state(plain)
        state = ForkState(board, RamImage(board.ram, before), board.time, put)
        state.kept, state.plain = self._keep(), plain
        self._current = state
        return state

    def untouched(self) -> ForkState | None:
        """The state that the guest is in to the last bit, if the host can tell."""
        state = self._current
        if state is None or not state.ram.tracks or state.ram.written():
            return None
        return state if self._board.save_state() == state.plain else None

    def restore(self, state: ForkState | None = None) -> int:
        """Back to ``state``, by default the one that was last forked or restored.

        Returns how many pages were reset. Raises :class:`UsageError` for a state of another kernel,
        and while the guest runs.
        """
        board = self._board
        current = self._current
        state = state_of(board, state, current)
        board.check_stopped()
        if state is current or not state.ram.tracks:
            ranges = state.ram.written()
            board.forget_ram_code(ranges)
            state.ram.reset(ranges)
            state.dirty_pages = sum(end - start for start, end in ranges) // PAGE
        else:
            board.machine.engine.forget_all_code()
            state.ram.put_under()
            state.dirty_pages = len(board.ram) // PAGE
        self._current = state
        state.put()
        board.rewound()
        for vcpu in board.machine.vcpus:
            vcpu.in_handler = False
            vcpu.hit_state.abandon()
        self._give_back(state.kept)
        return state.dirty_pages
