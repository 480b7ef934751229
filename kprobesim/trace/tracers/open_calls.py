"""``OpenCalls``: which calls of each task are going on, and how deep each is (fgraph.c, 6.12)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set
from typing import NamedTuple

__all__ = ["OpenCalls"]

_STACK_SHIFT = 14  # THREAD_SIZE is a multiple of that many bytes


class _Call(NamedTuple):
    """One that goes on: of what, its stack pointer after the return, and whether it is shown."""

    function: int
    key: int
    shown: bool


class OpenCalls:
    """What to record of calls and returns, as they come.

    Attributes:
        roots: Only calls of these functions are recorded, and what they call; empty: all are.
        never: Calls of these are not, nor what they call.
        deepest: How deep a call may be; 0: any.
        threshold: Nanoseconds: of a call that took less, nothing is recorded, and of another only
            the return; 0: all.
    """

    def __init__(self) -> None:
        """None goes on."""
        self.roots: Set[int] = frozenset()
        self.never: Set[int] = frozenset()
        self.deepest = 0
        self.threshold = 0
        self._of: defaultdict[int, list[_Call]] = defaultdict(list)

    def forget(self) -> None:
        """None goes on that is known."""
        self._of.clear()

    def enter(self, task: int, function: int, key: int) -> int | None:
        """A function is called; how deep that is, or ``None``: it is not recorded."""
        calls = self._of[task]
        while calls and calls[-1].key < key and _stack(calls[-1].key) == _stack(key):
            calls.pop()  # it was left without a return that was seen
        if self.roots and not calls and function not in self.roots:
            return None
        hidden = function in self.never or (bool(calls) and not calls[-1].shown)
        depth = len(calls)
        if self.deepest and depth >= self.deepest and not hidden:
            return None
        calls.append(_Call(function, key, not hidden))
        return None if hidden or self.threshold else depth

    def leave(self, task: int, function: int, key: int, duration: int) -> int | None:
        """A function returns; how deep its call was, or ``None``: it is not recorded."""
        calls = self._of[task]
        for depth in reversed(range(len(calls))):
            call = calls[depth]
            if call.key == key and call.function == function:
                del calls[depth:]
                return depth if call.shown and duration >= self.threshold else None
        return None


def _stack(key: int) -> int:
    """Which stack: the end of one is still its own."""
    return key - 1 >> _STACK_SHIFT
