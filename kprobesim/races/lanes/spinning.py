"""Whether a CPU waits for another one, told from what it loads and stores."""

from __future__ import annotations

from kprobesim.machine.unicorn.access_log import NUMBER, RECORD

__all__ = ["is_spinning"]

_PLACES = 32
"""So few instructions a loop has that waits, with the places that they use."""
_TURNS = 4
"""So often it goes round, at least."""


def is_spinning(records: bytes) -> bool:
    """Whether a thousand instructions with these accesses did nothing but wait.

    In their second half the same few places are used over and over, and nothing new is stored: a
    lock that is tried stores what was there.
    """
    count = len(records) // RECORD
    late = range(count // 2 * RECORD, count * RECORD, RECORD)
    if len({records[at + NUMBER : at + RECORD] for at in late[-2 * _PLACES :]}) > _PLACES:
        return False  # as nearly always: the rest need not be looked at
    different = {records[at + NUMBER : at + RECORD] for at in late}
    return len(different) <= _PLACES and len(different) * _TURNS <= len(late)
