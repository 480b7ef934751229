"""The user's terminal as the guest's: keys go to its serial console, Ctrl-A x leaves."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
from contextlib import ExitStack, suppress
from types import FrameType

from kprobesim.boot.board import Board
from kprobesim.boot.stop import Stop, StopReason

__all__ = ["Terminal"]

_PREFIX = 0x01  # Ctrl-A
_READ = 4096
_NOTE = "kprobesim: keys go to the guest; Ctrl-A x leaves, Ctrl-A h helps"
_HELP = """
Ctrl-A x       leave
Ctrl-A Ctrl-A  send one Ctrl-A
Ctrl-A h       this text
"""
_DEADLY = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# What a line discipline would do with keys (termios(3)); output stays as it is, so that our own
# lines end well.
_INPUT = (
    *(termios.BRKINT, termios.ICRNL, termios.INLCR, termios.IGNCR),
    *(termios.INPCK, termios.ISTRIP, termios.IXON),
)
_LOCAL = (termios.ECHO, termios.ECHONL, termios.ICANON, termios.IEXTEN, termios.ISIG)


class Terminal:
    """In a ``with`` block ``board`` hears the keys, and the terminal is raw.

    However the block ends, the terminal is as it was: by an exception, too, by a signal that ends
    the process, and while the process is stopped. ``left`` says whether the user asked to leave.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._keys = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._keys)
        self._after_prefix = False
        self._killed_by: int | None = None
        self._undo = ExitStack()
        self.left = False

    @staticmethod
    def is_there() -> bool:
        """Whether standard input and output are a terminal that is ours now."""
        try:
            keys = sys.stdin.fileno()
            both = sys.stdin.isatty() and sys.stdout.isatty()
            return both and os.tcgetpgrp(keys) == os.getpgrp()
        except (AttributeError, OSError, ValueError):  # no standard input, or no terminal
            return False

    def __enter__(self) -> Terminal:
        print(_NOTE, flush=True)
        with ExitStack() as undo:
            undo.callback(self._restore)
            if threading.current_thread() is threading.main_thread():
                for number in _DEADLY:
                    undo.callback(signal.signal, number, signal.signal(number, self._die))
                undo.callback(
                    signal.signal, signal.SIGTSTP, signal.signal(signal.SIGTSTP, self._pause)
                )
                undo.callback(
                    signal.signal, signal.SIGCONT, signal.signal(signal.SIGCONT, self._go_on)
                )
            self._make_raw()
            undo.callback(self._board.attend, None)
            self._board.attend(self._wait)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._undo.close()
        if self._killed_by is not None:
            sys.stdout.flush()
            os.kill(os.getpid(), self._killed_by)

    # -- keys --------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Wait so long for keys, at most, and type them on the guest's console."""
        sys.stdout.flush()
        if select.select([self._keys], [], [], seconds)[0]:
            try:
                data = os.read(self._keys, _READ)
            except OSError:  # EIO: the terminal has been hung up
                data = b""
            if data:
                self._type(data)
            else:
                self._leave("the terminal is gone")

    def _type(self, data: bytes) -> None:
        out = bytearray()
        for key in data:
            if self._after_prefix:
                self._after_prefix = False
                if key == _PREFIX:
                    out.append(key)
                elif key in b"xX":
                    self._leave("Ctrl-A x")
                elif key in b"hH?":
                    print(_HELP, flush=True)
            elif key == _PREFIX:
                self._after_prefix = True
            else:
                out.append(key)
        self._board.console.send(bytes(out))

    def _leave(self, why: str) -> None:
        self.left = True
        self._board.stop(StopReason(Stop.REQUESTED, why))

    # -- the terminal's mode -----------------------------------------------------------------------

    def _make_raw(self) -> None:
        mode = termios.tcgetattr(self._keys)
        for flag in _INPUT:
            mode[0] &= ~flag
        for flag in _LOCAL:
            mode[3] &= ~flag
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._keys, termios.TCSADRAIN, mode)

    def _restore(self) -> None:
        with suppress(termios.error):  # it may have been hung up
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    # -- signals -----------------------------------------------------------------------------------

    def _die(self, number: int, _frame: FrameType | None) -> None:
        """Stop the guest; the signal kills us when the terminal is restored."""
        self._killed_by = number
        self._board.stop(StopReason(Stop.REQUESTED, signal.Signals(number).name))

    def _pause(self, _number: int, _frame: FrameType | None) -> None:
        """``kill -TSTP``; Ctrl-Z itself is the guest's."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._make_raw()

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        """After a stop the shell has given the terminal its own mode."""
        self._make_raw()
