"""A process on a terminal of its own, played by a test."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
WALL = 60.0


def _take_the_terminal() -> None:
    """In the child: also where whoever runs the tests ignores signals, which is inherited."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class PseudoTerminal:
    """Runs Python with ``arguments``; ``text`` is what it has printed so far."""

    def __init__(self, *arguments: object) -> None:
        self.master, self.slave = os.openpty()
        self.mode = termios.tcgetattr(self.slave)
        self.text = ""
        self._seen = 0
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            preexec_fn=_take_the_terminal,
        )

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for descriptor in {self.master, self.slave} - {-1}:
            os.close(descriptor)

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ISIG)

    @property
    def is_restored(self) -> bool:
        return bool(termios.tcgetattr(self.slave) == self.mode)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self, seconds: float) -> None:
        """What comes within ``seconds``, or nothing."""
        if select.select([self.master], [], [], seconds)[0]:
            self.text += os.read(self.master, 65536).decode()

    def expect(self, wanted: str) -> str:
        """What is printed from the last expected text up to ``wanted``."""
        deadline = time.monotonic() + WALL
        while wanted not in self.text[self._seen :]:
            assert time.monotonic() < deadline, self.text
            self.read(0.1)
            if self.process.poll() is not None:
                self.read(0)
                assert wanted in self.text[self._seen :], self.text
        start = self._seen
        self._seen = self.text.index(wanted, start) + len(wanted)
        return self.text[start : self._seen]

    def wait_for(self, condition: Any) -> None:
        """Until ``condition()`` holds."""
        deadline = time.monotonic() + WALL
        while not condition():
            assert time.monotonic() < deadline, self.text
            self.read(0.02)

    def end(self) -> int:
        """The exit status, when the process has ended by itself."""
        self.wait_for(lambda: self.process.poll() is not None)
        self.read(0)
        assert self.process.returncode is not None
        return self.process.returncode
