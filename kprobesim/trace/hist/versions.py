"""From which version on kernels' hist triggers can what (kernel/trace/trace_events_hist.c)."""

from __future__ import annotations

__all__ = [
    "DOUBLE_CPU",
    "LITTLE_STACKS",
    "SINCE_BUCKETS",
    "SINCE_COMM",
    "SINCE_CONSTANTS",
    "SINCE_NAMES",
    "SINCE_NOHITCOUNT",
    "SINCE_PERCENT",
    "SINCE_STACKTRACE",
    "SINCE_STACK_CHECK",
    "SINCE_VALUE_CHECKS",
    "shares_of_values",
]

SINCE_BUCKETS = 5, 14
"""``n.buckets=10``."""
SINCE_CONSTANTS = 5, 16
"""Numbers, ``*`` and ``/`` in expressions, which are read from the right since then."""
SINCE_PERCENT = SINCE_VALUE_CHECKS = 6, 1
"""``n.percent``, ``n.graph``; and values may not have each modifier."""
SINCE_NOHITCOUNT = 6, 2
"""``nohitcount``; ``hitcount`` may be a value with a modifier."""
SINCE_NAMES = SINCE_STACKTRACE = 6, 3
"""``common_stacktrace``, and fields that are stack traces."""
SINCE_COMM = DOUBLE_CPU = 6, 16
"""``common_comm``, and ``comm`` as a field; ``common_cpu`` is shown twice."""
SINCE_STACK_CHECK = 7, 3
"""``.stacktrace`` is refused of what is no stack trace."""
LITTLE_STACKS = 7, 0
"""Until then stack traces have 16 entries, from then on 31."""

_SHARES: dict[tuple[int, ...], int] = {(6, 1): 177, (6, 12): 108}
_ALL_SHARES = 7, 2


def shares_of_values(version: tuple[int, ...]) -> bool:
    """Whether values may have ``.percent`` and ``.graph``: by mistake not in all since 6.1."""
    series, patch = version[:2], version[2] if len(version) > 2 else 0
    least = _SHARES.get(series, patch + 1)
    return version < SINCE_VALUE_CHECKS or series >= _ALL_SHARES or patch >= least
