"""``Order``: that what one CPU did comes before what another one does, though no access says so."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Order"]


class Order(NamedTuple):
    """A wake-up, a grace period: what the happens-before of a run has besides its accesses.

    Attributes:
        at: Before which access of the log the second CPU knows it.
        source: The CPU that was first.
        target: The other one.
        since: What ``source`` did before this access of the log is known then; at most ``at``.
    """

    at: int
    source: int
    target: int
    since: int
