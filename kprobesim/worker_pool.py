"""``worker_pool``: processes that end at once, and tidily, when who waits for them is interrupted.

Ctrl-C reaches every process of a terminal. Those of a pool would each print a traceback, and go on
with what they have been given already. So they ignore it, and are told to stop by the process that
started them: what is being written is then taken back.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from threading import Thread
from typing import Any, ParamSpec, TypeVar

__all__ = ["stoppable", "worker_pool"]

_GRACE = 0.3  # seconds for a result that is being sent
_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Stopped(BaseException):
    """The worker is to end."""


class _Work:
    """Whether this process is at work; what it is interrupted in must be left in order."""

    going_on = False
    over = False
    """Whether it is to begin no other."""


@contextmanager
def worker_pool(count: int, *, forked: bool = False) -> Iterator[Executor]:
    """``count`` processes for functions that were made :func:`stoppable`.

    Left by an exception, it ends them at once.

    Args:
        count: How many.
        forked: They are copies of this process, made by the first ``submit``, with all that is in
            it; otherwise each is a new Python. Threads that hold locks meanwhile must hold none
            that the work needs.
    """
    from concurrent.futures import ProcessPoolExecutor  # with all of multiprocessing
    from multiprocessing import active_children, get_context

    others = {child.pid for child in active_children()}
    # A process that was forked off would share locks that other threads hold.
    context = get_context("fork" if forked else "spawn")
    begin = _begin_forked if forked else _begin
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=begin)
    try:
        if forked:
            with warnings.catch_warnings():  # Python 3.12 warns of any other thread
                warnings.simplefilter("ignore", DeprecationWarning)
                pool.submit(int).result()
        yield pool
    except BaseException:
        for child in active_children():
            if child.pid not in others:
                child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def stoppable(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What ``work`` returns; if this process is told to stop, its end, when all is put away."""
    if _Work.over:
        os._exit(1)
    _Work.going_on = True
    try:
        return work(*args, **kwargs)
    except _Stopped:
        os._exit(1)
    finally:
        _Work.going_on = False


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    Thread(target=_end_with_parent, daemon=True).start()


def _begin_forked() -> None:
    """A copy has nothing of its own to put away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_at_once)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes would wait for work for ever if theirs was killed."""
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _stop(*_: Any) -> None:
    if _Work.going_on:
        raise _Stopped
    _leave()


def _stop_at_once(*_: Any) -> None:
    if _Work.going_on:
        os._exit(1)
    _leave()


def _leave() -> None:
    """End, but not while a result is being sent: for its rest somebody would wait for ever."""
    _Work.over = True
    Thread(target=_end_later, daemon=True).start()


def _end_later() -> None:
    time.sleep(_GRACE)
    os._exit(1)
