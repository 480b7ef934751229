"""``struct dyn_event``: what two kinds of events have in common, their place in one list."""

from __future__ import annotations

from itertools import count

__all__ = ["next_place"]

_places = count()


def next_place() -> int:
    """A place behind all that were given before (``dyn_event_add()``)."""
    return next(_places)
