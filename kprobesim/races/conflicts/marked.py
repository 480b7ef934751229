"""Which accesses are known to be marked, by the helpers of the kernel that debug information names.

``READ_ONCE()`` is a macro and leaves nothing, but most marked accesses are made by small functions
that are inlined: ``atomic_read()``, ``list_empty()``, ``test_bit()``, ``refcount_read()`` ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["MarkedAccesses"]

# Inlined functions whose accesses are all marked (include/linux/{atomic,refcount,list,llist,...}.h
# and asm-generic/rwonce.h of 5.10 to 7.3).
_HELPERS = re.compile(
    r"_*(?:(?:raw_|arch_|generic_)*atomic(?:64|_long)?_\w+|(?:raw_|arch_)*atomic_\w+"
    r"|refcount_\w+|kref_\w+|(?:arch_|generic_)*(?:test|set|clear|change|assign)_bit\w*"
    r"|(?:test|set|clear)_(?:tsk_|ti_)?thread_flag\w*|(?:read|write)_once_\w+|smp_(?:load|store)_\w+"
    r"|list_empty\w*|hlist_empty\w*|hlist_unhashed_lockless|llist_(?:add|del|empty|next)\w*"
    r"|list_(?:add|del|replace)_rcu|list_first_or_null_rcu|rcu_(?:dereference|assign)\w*"
    r"|task_(?:state_index|is_running)|wake_q_\w+|waitqueue_active|lockref_\w+"
    r"|(?:queued|native_queued|arch|do_raw)_(?:spin|read|write)_\w+|seqcount_\w+|seqprop_\w+"
    r"|read_seqcount_\w+|__seqprop_\w+|xa_(?:head|entry|parent|is_\w+)\w*|percpu_ref_\w+)$"
)


class MarkedAccesses:
    """Those of one kernel."""

    def __init__(self, functions: Callable[[int], Sequence[str]]) -> None:
        """Know none yet.

        Args:
            functions: The functions that the instruction at an address is of, the innermost one
                first: all but the last are inlined. Nothing where that is not known.
        """
        self._functions = functions
        self._known: dict[int, bool] = {}

    def at(self, pc: int) -> bool:
        """Whether the access of the instruction at ``pc`` is known to be marked."""
        known = self._known.get(pc)
        if known is None:
            inlined = self._functions(pc)[:-1]
            known = self._known[pc] = any(map(_HELPERS.match, inlined))
        return known
