"""Ctrl-C while the guest runs."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["interruptible"]


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` when SIGINT arrives, so that ``KeyboardInterrupt`` is raised at once.

    Python acts on a signal only between two of its own instructions, and there is none while the
    CPU emulator runs. The interpreter's C handler does write to a wake-up socket, though, and a
    thread can wait there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    waiting, wake = socket.socketpair()
    wake.setblocking(False)

    def wait() -> None:
        while number := waiting.recv(1):
            if number[0] == signal.SIGINT:
                stop()

    thread = threading.Thread(target=wait, daemon=True)
    before = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        wake.close()  # ends the thread
        thread.join()
        waiting.close()
