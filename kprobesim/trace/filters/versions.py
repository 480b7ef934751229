"""From which version on kernels read filters in which way."""

from __future__ import annotations

__all__ = ["SINCE_CPUS", "SINCE_FUNCTION", "SINCE_STACKTRACE", "column_bits", "refuses_dangling"]

SINCE_CPUS = SINCE_FUNCTION = 6, 6
"""``CPUS{0-3}`` and ``ip.function == vfs_read``."""
SINCE_STACKTRACE = 6, 3
"""Every event has a field ``stacktrace``."""

_WIDE_COLUMNS = 5, 15  # struct err_info's pos
_DANGLING: dict[tuple[int, ...], int] = {(6, 1): 177, (6, 12): 108}
_ALL_DANGLING = 7, 3


def column_bits(version: tuple[int, ...]) -> int:
    """How large a column ``error_log`` keeps."""
    return 16 if version >= _WIDE_COLUMNS else 8


def refuses_dangling(version: tuple[int, ...]) -> bool:
    """Whether a filter may not end in ``&&``, ``||`` or ``!`` (6.1.177, 6.12.108, 7.3)."""
    series, patch = version[:2], version[2] if len(version) > 2 else 0
    return series >= _ALL_DANGLING or patch >= _DANGLING.get(series, patch + 1)
