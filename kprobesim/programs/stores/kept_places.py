"""Where what tells a CPU's context lies in the host's memory, kept for compiled code.

:mod:`kprobesim.programs.compiler.context` fills it; all programs of one CPU share it.
"""

from __future__ import annotations

from kprobesim.programs.stores.words import Words, address_of, new_words

__all__ = ["KEPT", "TASKS", "TASK_BITS", "new_kept_places"]

KEPT = ("base", "current_at", "count_at", "current", "task_at", "nothing")
"""The first words: the base of the per-CPU variables and where those for the running task and for
``preempt_count`` are; the task that ran last and where that is; a word of 0."""
TASKS = len(KEPT)
"""Behind them pairs: tasks, and where they are."""
TASK_BITS = 6
_NOBODY = 1  # no base, and no task, has that address


def new_kept_places(ram: int) -> Words:
    """Nothing is known yet; what would be read meanwhile is at ``ram``, and counts for nothing."""
    words = new_words(TASKS + (2 << TASK_BITS))
    nothing = address_of(words, KEPT.index("nothing"))
    words[:TASKS] = [_NOBODY, nothing, nothing, _NOBODY, ram, 0]
    words[TASKS::2] = [_NOBODY] * (1 << TASK_BITS)
    return words
