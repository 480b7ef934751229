"""Python's signal handlers, put off while the main thread uses a guest.

CPython calls them between any two bytecodes of the main thread, so also in the middle of a callback
of the emulator, where an exception cannot go anywhere, or of a change that must be whole. So while
the outermost :class:`~kprobesim.machine.turn.Turn` of the main thread lasts, each handler is
replaced by one that only notes the signal and has the guest stop at its next block. There, where
everything is at rest, :meth:`Signals.deliver` calls the real one. If that raises, the run is over;
if it does not, the guest goes on as if nothing had been.

A handler of a probe is let finish. If it does not return soon, it is kicked out of whatever it
waits for by a SIGURG (which the watchdog sends, and nobody else uses), and the real handler is
called in its place, so that what it raises ends the probe's handler.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType
from typing import Any

__all__ = ["Signals", "signals"]

_KICK = signal.SIGURG
_GRACE = 0.05  # seconds that a probe's handler may take to return by itself
_INTERRUPT, _ALARM, _TERMINATE = int(signal.SIGINT), int(signal.SIGALRM), int(signal.SIGTERM)
_USER_1, _USER_2 = int(signal.SIGUSR1), int(signal.SIGUSR2)
"""Whose handlers are looked up at each turn."""
_ALL = tuple(
    sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGURG}))
)
"""Looked up where the watchdog has slept, or has last looked after a guest."""
_OURS = "kprobesim"

# Without the enumerations around them, which take 1 us each time.
_plain: Any = importlib.import_module("_signal")
_look_up: Callable[[int], Any] = _plain.getsignal
_install: Callable[[int, Any], Any] = _plain.signal
_Handler = Callable[[int, Any], Any]


class Signals:
    """What the main thread has put off; there is one of it."""

    def __init__(self) -> None:
        self.pending: dict[int, float] = {}
        """The signals that came, oldest first, and when (``time.monotonic()``)."""
        self.can_kick = False
        """Whether :meth:`kick` works; otherwise a probe's handler is not let finish."""
        self.boundaries: set[CodeType] = set()
        """The functions that run the emulator, or ask others between two runs: a frame beyond them
        is no handler's."""
        self._handlers: dict[int, _Handler] = {}
        self.stale = True
        """Whether the handlers of all signals are to be looked up when the next turn begins."""
        self._seen: tuple[object, ...] = (None,) * 5
        self._installed: list[tuple[int, _Handler]] = []
        """The signals that are put off in each turn, and whose their handlers are."""
        self._stand_in = self._note
        self._turns: list[Any] = []
        self._held = 0
        self.main = threading.main_thread().ident or 0
        """The thread that Python's signal handlers run in."""
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        """The thread that forked is the main one now."""
        self.main = threading.get_ident()

    # -- putting off -------------------------------------------------------------------------------

    def put_off(self, turn: Any) -> None:
        """A turn begins in the main thread."""
        turns = self._turns
        if not turns:
            interrupt, alarm, terminate, user_1, user_2 = self._seen
            if (
                self.stale
                or _look_up(_INTERRUPT) is not interrupt
                or _look_up(_ALARM) is not alarm
                or _look_up(_TERMINATE) is not terminate
                or _look_up(_USER_1) is not user_1
                or _look_up(_USER_2) is not user_2
            ):
                self._look()
            try:
                stand_in = self._stand_in
                for number, _ in self._installed:
                    _install(number, stand_in)
            except BaseException:
                self._put_back()
                raise
        turns.append(turn)

    def _look(self) -> None:
        """Somebody may have installed a handler since."""
        usual = _INTERRUPT, _ALARM, _TERMINATE, _USER_1, _USER_2
        self._seen = tuple(map(_look_up, usual))
        wanted = []
        for number in _ALL:
            handler = _look_up(number)
            if callable(handler) and handler is not self._stand_in:
                self._handlers[number] = handler
                wanted.append((number, handler))
        if not self.can_kick and _look_up(_KICK) in (signal.SIG_DFL, signal.SIG_IGN):
            _install(_KICK, self._kicked)
            self.can_kick = True
        self._installed = wanted
        self.stale = False

    def put_back(self, turn: Any) -> None:
        """A turn of the main thread ends: deliver what is still pending, if it was the last."""
        turns = self._turns
        if len(turns) > 1:
            turns.remove(turn)
            return
        stand_in = self._stand_in
        try:
            for number, handler in self._installed:
                if _look_up(number) is stand_in:
                    _install(number, handler)
        except BaseException:  # a handler's that was called in install()
            self._put_back()
            raise
        finally:
            del turns[:]  # no call: a signal's handler cannot come between
            if self.pending:
                self.deliver()

    def _put_back(self) -> None:
        """Each handler is its owner's again; one that was installed meanwhile stays."""
        try:
            for number, handler in self._installed:
                if _look_up(number) is self._stand_in:
                    _install(number, handler)
        except BaseException:
            self._put_back()
            raise

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Stands in the place of every handler."""
        if not self._turns:  # it was given to somebody who has installed it later
            self._handlers[number](number, frame)
            return
        self.pending.setdefault(number, time.monotonic())
        turn = self._turns[-1]
        if not self.can_kick and self._in_a_handler(turn, frame):
            self.deliver()
        else:
            turn.stop_soon()

    # -- delivering --------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Call the handlers of what is pending, in the main thread; what they raise comes out."""
        if self._held:
            return
        try:
            while self.pending:
                number = next(iter(self.pending))
                del self.pending[number]
                self._handlers[number](number, sys._getframe(1))
        except BaseException:
            if self.pending and not self._turns:
                self.deliver()  # nobody else will; the first exception is the other's context
            raise

    def __enter__(self) -> None:
        """Within ``with signals:`` nothing is delivered, for work that must come to its end."""
        self._held += 1

    def __exit__(self, *_: object) -> None:
        self._held -= 1

    def overdue(self, now: float) -> bool:
        """Whether a signal has waited long enough for a probe's handler."""
        return any(now - since > _GRACE for since in [*self.pending.values()])

    def kick(self) -> None:
        """Have the main thread look whether a handler has outstayed its time."""
        signal.pthread_kill(self.main, _KICK)

    def _kicked(self, _number: int, frame: FrameType | None) -> None:
        turn = self._turns[-1] if self._turns else None
        if turn is not None and self._in_a_handler(turn, frame):
            if self.overdue(time.monotonic()):
                self.deliver()
            turn.check_time()

    def _in_a_handler(self, turn: Any, frame: FrameType | None) -> bool:
        """Whether code that is not ours runs in a callback, and nothing of ours within it.

        Whoever has called us is not meant: a kick may come late, when the run has just ended.
        """
        if turn.count != turn.level:
            return False
        others = False
        while frame is not None and frame.f_code not in self.boundaries:
            name, file = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
            stdlib, *libraries = _libraries()
            known = name.partition(".")[0] == _OURS or file.startswith((stdlib, "<frozen"))
            others |= not known or file.startswith((*libraries,))
            frame = frame.f_back
        return others and frame is not None


@cache
def _libraries() -> list[str]:
    """Where the standard library is, and where others are."""
    import sysconfig  # 1 ms

    return [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]


signals = Signals()
"""The process's."""
