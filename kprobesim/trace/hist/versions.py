"""From which version on kernels' hist triggers can what (kernel/trace/trace_events_hist.c)."""

from __future__ import annotations

__all__ = [
    "LITTLE_STACKS",
    "SINCE_BUCKETS",
    "SINCE_COMM",
    "SINCE_CONSTANTS",
    "SINCE_NAMES",
    "SINCE_NOHITCOUNT",
    "SINCE_PERCENT",
    "SINCE_STACKTRACE",
    "SINCE_VALUE_CHECKS",
    "SINCE_VALUE_PERCENT",
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
SINCE_COMM = 6, 18
"""``common_comm``, and ``comm`` as a field."""
SINCE_VALUE_PERCENT = 7, 0
"""Values may have ``.percent`` and ``.graph`` again."""
LITTLE_STACKS = 7, 0
"""Until then stack traces have 16 entries, from then on 31."""
