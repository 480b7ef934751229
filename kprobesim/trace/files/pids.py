"""``set_event_pid``, ``set_ftrace_pid`` and their opposites: tasks by number.

trace_pid_write(), trace_pid_show() and ftrace_pid_open() of kernel/trace (6.12): ``>`` forgets
those that were there before.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from kprobesim.trace.files.node import Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.refusal import refusal

__all__ = ["PidsFile"]

_MOST = 0x7FFF_FFFF
_LIMIT = 1 << 22  # PID_MAX_LIMIT


class PidsFile(Setting):
    """One of them.

    Args:
        pids: Gives those that are chosen; ``None``: nobody was named.
        change: Is given others.
        none: What the file says while nobody was named.
    """

    def __init__(
        self,
        pids: Callable[[], frozenset[int] | None],
        change: Callable[[frozenset[int] | None], object],
        none: str = "",
    ) -> None:
        super().__init__(self._show, self._add)
        self._pids = pids
        self._choose = change
        self._none = none

    def truncate(self) -> None:
        """See :meth:`File.truncate`."""
        if self._pids() is not None:
            self._choose(None)

    def _show(self) -> str:
        pids = self._pids()
        if pids is None:
            return self._none
        return "".join(f"{pid}\n" for pid in sorted(pids))

    def _add(self, text: str) -> None:
        found = [number_of(word, 0, _MOST) for word in text.split()]
        if not found:
            return
        if max(found) >= _LIMIT:
            raise refusal(errno.EINVAL, f"there is no task {max(found)}: numbers end at {_LIMIT}")
        self._choose((self._pids() or frozenset()) | frozenset(found))
