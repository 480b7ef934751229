"""How much of Python's stack must be left when the emulator is entered.

Where it ends at a callback's first frames, or at those of what keeps its exceptions, nobody can
tell of it: ctypes prints a RecursionError, and the guest goes on as if there were no callback. So
it is raised before the run, by going as deep once.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["with_room"]


def with_room(function: Callable[[int], int], argument: int) -> int:
    """What ``function(argument)`` returns, called deeper than a callback's guard ever is.

    One frame is the callback's, one that of :meth:`.hooks.Hooks.keep`, and each time C calls
    Python or Python C, CPython (3.11) counts one more. All of them together take 0.1 us.

    Raises:
        RecursionError: There is no room for these.
    """
    return _two(function, argument)


def _two(function: Callable[[int], int], argument: int) -> int:
    return _three(function, argument)


def _three(function: Callable[[int], int], argument: int) -> int:
    return _four(function, argument)


def _four(function: Callable[[int], int], argument: int) -> int:
    return _five(function, argument)


def _five(function: Callable[[int], int], argument: int) -> int:
    return function(argument)
