"""``Entry``: what a histogram keeps for one key (``struct tracing_map_elt``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kprobesim.trace.hist.actions import Handler

__all__ = ["Entry"]


@dataclass
class Entry:
    """What is kept for one key.

    Attributes:
        key: Numbers of 64 bits, texts as bytes, stack traces as tuples of addresses.
        sums: The hits, and what the values add up to.
        comm: The name of the task of the first hit.
        variables: The variables that are set.
        tracked: What ``onmax()`` and ``onchange()`` have seen.
        saved: What ``save()`` has kept.
    """

    key: tuple[Any, ...]
    sums: list[int]
    comm: str
    variables: dict[str, Any] = field(default_factory=dict)
    tracked: dict[Handler, int] = field(default_factory=dict)
    saved: list[Any] = field(default_factory=list)
