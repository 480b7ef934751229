"""What an access of a run is called, and what it does, for people."""

from __future__ import annotations

from kprobesim.races.conflicts.access_kinds import How
from kprobesim.races.seen import Seen

__all__ = ["words_of"]


def words_of(seen: Seen) -> tuple[str, str]:
    """As a noun and as a verb: "a load", "loads"."""
    if seen.how & How.ATOMIC:
        return "an atomic update", "updates atomically"
    if seen.how & How.UPDATE:
        return "an update that is not atomic", "updates, not atomically,"
    if seen.how & How.FREES and seen.is_store:
        return "a free", "frees"
    noun, verb = ("a store", "stores to") if seen.is_store else ("a load", "loads")
    if seen.how & How.MANY:
        return f"{noun} that is not atomic", f"{verb}, not atomically,"
    return noun, verb
