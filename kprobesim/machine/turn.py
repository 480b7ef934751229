"""Who uses a guest at this moment: one thread at a time, with Python's signals put off.

Whatever runs a guest or changes what must be whole takes a turn. Turns nest: a handler may call a
function, or register a probe.
"""

from __future__ import annotations

import ctypes
import functools
import time
from _thread import _count, allocate_lock, get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kprobesim.errors import UsageError
from kprobesim.machine.signals import signals
from kprobesim.machine.watchdog import watchdog

__all__ = ["HandlerOverstayed", "Turn", "in_turn", "is_alone"]

_C = TypeVar("_C", bound=Callable[..., Any])

_PATIENCE = 30.0  # seconds that somebody waits for a turn
_NAP = 0.0002  # seconds between two looks whether all that waited have had theirs


class HandlerOverstayed(BaseException):
    """The time of a run was over while a handler was running; whoever has run it tells of that."""


def is_alone() -> bool:
    """Whether no other thread can want the interpreter while a guest runs, but the watchdog."""
    return _count() <= watchdog.threads


_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in_thread.argtypes = ctypes.c_ulong, ctypes.py_object


class Turn:
    """One guest's; ``with turn:`` takes it.

    Attributes:
        stop_soon: Has the guest stop at its next block; called by the thread that runs it.
        is_handling: Whether a probe's handler runs; for threads that signals do not reach.
        owner: The thread whose turn it is (``threading.get_ident()``); 0: nobody's.
        count: How often that thread has taken it.
        level: What ``count`` was when the emulator was entered.
        deadline: When the time of the current run is over (``time.monotonic()``), or ``None``.
        wanted: How many threads wait for a short turn: see :meth:`short`.
    """

    def __init__(self, is_handling: Callable[[], bool]) -> None:
        self.stop_soon: Callable[[], object] = lambda: None
        self.is_handling = is_handling
        self.owner = self.count = self.level = self.wanted = self._short = 0
        self.deadline: float | None = None
        self._lock = allocate_lock()
        self._counting = allocate_lock()
        watchdog.look_after(self)

    def begin(self) -> None:
        """Take the turn.

        Raises:
            UsageError: It is another thread's.
        """
        ident = get_ident()
        if self.owner == ident:
            self.count += 1
            return
        if watchdog.asleep:
            signals.stale = True
            watchdog.wake()
        main = ident == signals.main
        if main:  # first, for nothing can raise then between here and end()
            signals.put_off(self)
        if not self._lock.acquire(False) and not self._comes():
            if main:
                signals.put_back(self)
            raise UsageError(
                "this kernel is being used by another thread: wait until its call or run() has "
                "returned, end that with stop(), or load the image once more for each thread"
            )
        self.owner, self.count = ident, 1

    def end(self) -> None:
        """Give the turn back, and call the handlers of signals that came meanwhile."""
        self.count -= 1
        if not self.count:
            main = self.owner == signals.main
            self.owner = self.level = 0
            self.deadline = None
            self._lock.release()
            if main:
                signals.put_back(self)
            if self.wanted:
                time.sleep(_NAP)  # else who waits would never be quick enough

    def _comes(self) -> bool:
        """Take the turn from a thread that has it for a moment; false if none has."""
        return self.wanted + self._short > 0 and self._lock.acquire(timeout=_PATIENCE)

    @contextmanager
    def short(self) -> Iterator[None]:
        """A turn for a moment, for a thread that serves others: it waits until it comes.

        While a guest runs that is between two slices. Whoever wants a turn meanwhile waits, too.

        Raises:
            UsageError: It does not come in 30 seconds: a handler of a probe holds it, for one.
        """
        self._count(wanted=1)
        try:
            self.begin()
        except BaseException:
            self._count(wanted=-1)
            raise
        self._count(wanted=-1, short=1)
        try:
            yield
        finally:
            self.end()
            self._count(short=-1)

    def _count(self, *, wanted: int = 0, short: int = 0) -> None:
        with self._counting:
            self.wanted += wanted
            self._short += short

    def lend(self) -> None:
        """The guest is at rest between two slices: let threads have short turns that wait for one.

        Its own thread goes on afterwards as if nothing had been.
        """
        kept = self.owner, self.count, self.level, self.deadline
        self.owner = self.count = self.level = 0
        self.deadline = None
        self._lock.release()
        try:
            while self.wanted:
                time.sleep(_NAP)
        finally:
            self._lock.acquire()
            self.owner, self.count, self.level, self.deadline = kept

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_mine(self) -> bool:
        """Whether this thread has it."""
        return self.owner == get_ident()

    # -- within a run ------------------------------------------------------------------------------

    def deliver(self) -> None:
        """The guest is at rest: call the handlers of signals that came, in the main thread."""
        if self.owner == signals.main:
            signals.deliver()

    def check_time(self) -> None:
        """Raise :class:`HandlerOverstayed` if the time of the run is over."""
        deadline = self.deadline
        if deadline is not None and time.monotonic() > deadline:
            raise HandlerOverstayed

    # -- the watchdog's side -----------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Whether a handler has outstayed its time; called by the watchdog's thread."""
        signals.stale = True
        deadline, owner = self.deadline, self.owner
        late = deadline is not None and now > deadline
        if owner == signals.main and signals.can_kick:
            if late or (signals.pending and signals.overdue(now)):
                signals.kick()
        elif late:
            # Asked and done within one turn at the interpreter's lock, so that nothing but a
            # handler can be what the exception is raised in.
            self._throw(ctypes.c_ulong(owner), HandlerOverstayed)

    def _throw(self, thread: ctypes.c_ulong, error: type[BaseException]) -> None:
        throw, handling = _raise_in_thread, self.is_handling()
        if handling and self.count == self.level:
            throw(thread, error)


def in_turn(method: _C) -> _C:
    """A method of somebody who has a ``machine``, whose turn it takes."""

    @functools.wraps(method)
    def whole(self: Any, *arguments: Any, **options: Any) -> Any:
        with self.machine.turn:
            return method(self, *arguments, **options)

    return whole  # type: ignore[return-value]
