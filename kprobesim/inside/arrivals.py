"""The way from a forked state to where the guest can be called, taken once and then remembered.

Until a kworker comes to our work a guest has to run on: 2 ms of its time, 20 of the host's. From
one and the same state it takes the same way each time, as long as nobody looks or interferes. So
the first time it is written down what the way has changed, and the next time only that is put in
force. Everything that somebody could have seen on the way is a reason to go it again: the hit of a
probe, a probe that was not there when it was written down, a line on the console that somebody
listens to, a die notifier, the host's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from kprobesim.boot.board import Board
from kprobesim.boot.fork_state import Forks
from kprobesim.boot.host_time import HostTime
from kprobesim.boot.state import Put
from kprobesim.late_dataclasses import dataclass
from kprobesim.machine.fork_state import ForkState

__all__ = ["Arrivals", "Observers"]


class Observers(Protocol):
    """Who sees the guest execute an instruction: its probes."""

    def places(self) -> frozenset[int]:
        """The addresses that are looked at."""

    def noticing(self) -> AbstractContextManager[list[Any]]:
        """A list to which something is added whenever one of them sees anything."""


@dataclass
class _Way:
    """What is different at the end: memory, all else, and what the calls remember.

    ``places`` are where observers were, none of which has seen anything; ``None`` if one has.
    """

    pages: list[tuple[int, bytes]]
    put: Put
    calls: Any
    places: frozenset[int] | None
    printed: bool


class Arrivals:
    """Remembers the ways from the states of ``forks``."""

    def __init__(self, board: Board, forks: Forks, observers: Observers) -> None:
        self._board = board
        self._forks = forks
        self._observers = observers
        self._own_listeners = len(board.console.listeners)

    def replay(self) -> tuple[Any] | None:
        """Be at the end of the way, if it is known from here: what :meth:`recording` was given."""
        state = self._may_replay()
        way = state.way if state is not None else None
        if way is None or way.places is None or not self._observers.places() <= way.places:
            return None
        if way.printed and self._is_heard():
            return None
        board = self._board
        for start, content in way.pages:
            board.ram[start : start + len(content)] = content
        board.forget_ram_code([(start, start + len(content)) for start, content in way.pages])
        way.put()
        board.rewound()
        return (way.calls,)

    @contextmanager
    def recording(self, save: Callable[[], Any]) -> Iterator[None]:
        """Remember the way that is gone in the block; ``save()`` is what calls remember then."""
        state = self._may_replay()
        if state is None:
            yield
            return
        printed = len(self._board.console.output)
        with self._observers.noticing() as noticed:
            yield
        ram = self._board.ram
        state.way = _Way(
            pages=[(start, ram[start:end]) for start, end in state.ram.written()],
            put=self._board.parse_state(self._board.save_state()),
            calls=save(),
            places=None if noticed else self._observers.places(),
            printed=len(self._board.console.output) != printed,
        )

    def _may_replay(self) -> ForkState | None:
        """The state that the guest stands at, if all that happens from here on is decided."""
        board = self._board
        if isinstance(board.clock, HostTime) or board.machine.die_notifiers:
            return None
        return self._forks.untouched()

    def _is_heard(self) -> bool:
        return len(self._board.console.listeners) > self._own_listeners
