"""From which version on kernels' hist triggers can what (kernel/trace/trace_events_hist.c)."""

from __future__ import annotations

__all__ = [
    "DOUBLE_CPU",
    "LITTLE_STACKS",
    "SINCE_BUCKETS",
    "SINCE_COMM",
    "SINCE_CONSTANTS",
    "SINCE_NAMED_SCALES",
    "SINCE_NAMES",
    "SINCE_NOHITCOUNT",
    "SINCE_PERCENT",
    "SINCE_STACKTRACE",
    "SINCE_STACK_CHECK",
    "SINCE_VALUE_CHECKS",
    "keeps_keys",
    "marks_variables",
    "shares_of_values",
    "tells_widths",
]

SINCE_BUCKETS = 5, 14
"""``n.buckets=10``."""
SINCE_CONSTANTS = 5, 16
"""Numbers, ``*`` and ``/`` in expressions, which are read from the right since then."""
SINCE_PERCENT = SINCE_VALUE_CHECKS = 6, 1
"""``n.percent``, ``n.graph``; and values may not have each modifier."""
SINCE_NAMED_SCALES = 7, 2
"""What is in buckets or in powers of two has no minus; before, that has no name."""
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

_WIDTHS: dict[tuple[int, ...], int] = {(6, 12): 108}
_ALL_WIDTHS = 7, 2
_SHARES: dict[tuple[int, ...], int] = {(6, 1): 177, (6, 12): 108}
_ALL_SHARES = 7, 2


def _is_since(
    version: tuple[int, ...], every: tuple[int, int], some: dict[tuple[int, ...], int]
) -> bool:
    """Whether it is as new as ``every``, or as the release of its own series that has it, too."""
    series, patch = version[:2], version[2] if len(version) > 2 else 0
    return series >= every or patch >= some.get(series, patch + 1)


def tells_widths(version: tuple[int, ...]) -> bool:
    """Whether expressions tell how wide the buckets in them are (6.12.108, 7.2)."""
    return _is_since(version, _ALL_WIDTHS, _WIDTHS)


def marks_variables(version: tuple[int, ...]) -> bool:
    """Whether ``GROUP.EVENT.$NAME`` is shown with its dollar (6.12.108, 7.2)."""
    return _is_since(version, _ALL_WIDTHS, _WIDTHS)


def shares_of_values(version: tuple[int, ...]) -> bool:
    """Whether values may have ``.percent`` and ``.graph``: by mistake not in all since 6.1."""
    return version < SINCE_VALUE_CHECKS or _is_since(version, _ALL_SHARES, _SHARES)


def keeps_keys(version: tuple[int, ...]) -> bool:
    """Whether a trigger that is made for a field has the matched keys with their modifiers.

    Those of 6.12.118 and 7.3 do, of 6.1.176 does not: taken to have changed as widths did.
    """
    return _is_since(version, _ALL_WIDTHS, _WIDTHS)
