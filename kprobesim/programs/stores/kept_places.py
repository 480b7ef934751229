"""Where what tells a CPU's context lies in the host's memory, kept for compiled code.

:mod:`kprobesim.programs.compiler.context` fills it; all programs of one CPU share it.
"""

from __future__ import annotations

import ctypes

from kprobesim.machine.system import System
from kprobesim.programs.stores.words import Words, address_of, new_words
from kprobesim.sizes import MASK64

__all__ = ["KEPT", "TASKS", "TASK_BITS", "new_kept_places"]

KEPT = ("base", "cpu", "current_at", "count_at", "current", "task_at", "nothing")
"""The first words, which each CPU has for itself: the base of the per-CPU variables, or the number
of the CPU where there is none; that number as stamps have it; where the variables for the running
task and for ``preempt_count`` are; the task that ran last and where that is; a word of 0."""
TASKS = len(KEPT)
"""Behind them pairs: tasks, and where they are."""
TASK_BITS = 6
_NOBODY = 1  # no task has that address
_NOWHERE = MASK64  # no base is that, and no CPU has that number


def new_kept_places(machine: System) -> Words:
    """Nothing is known yet; what would be read meanwhile is anything in RAM, and does not count."""
    ram = machine.memory.host_address
    words = new_words(TASKS + (2 << TASK_BITS))
    nothing = address_of(words, KEPT.index("nothing"))
    words[:TASKS] = [_NOWHERE, 0, nothing, nothing, _NOBODY, ram, 0]
    words[TASKS::2] = [_NOBODY] * (1 << TASK_BITS)
    machine.per_cpu_words((ctypes.c_uint64 * TASKS).from_buffer(words))
    return words
