"""``saved_cmdlines``, ``saved_cmdlines_size`` and ``saved_tgids``: what is kept of tasks.

kernel/trace/trace_sched_switch.c (6.12).
"""

from __future__ import annotations

import errno

from kprobesim.trace.files.node import File, ReadOnly, Setting
from kprobesim.trace.files.numbers import number_of
from kprobesim.trace.files.refusal import refusal
from kprobesim.trace.tracing import Tracing

__all__ = ["saved_tasks"]

_MOST = 32768  # PID_MAX_DEFAULT


def saved_tasks(tracing: Tracing) -> dict[str, File]:
    """The files, by name."""

    def resize(text: str) -> None:
        size = number_of(text)
        if not 0 < size <= _MOST:
            raise refusal(errno.EINVAL, f"{size} names: give 1 to {_MOST}")
        tracing.saved.make_room(size)

    return {
        "saved_cmdlines": ReadOnly(tracing.saved_cmdlines),
        "saved_cmdlines_size": Setting(lambda: f"{tracing.saved.most}\n", resize),
        "saved_tgids": ReadOnly(tracing.saved_tgids),
    }
