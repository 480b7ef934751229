"""Whether a CPU waits for another one, told from what it loads and stores."""

from __future__ import annotations

from kprobesim.machine.unicorn.access_log import read_records

__all__ = ["is_spinning"]

_PLACES = 32
"""So few places are loaded by a loop that waits, and by so few instructions."""
_STORES = 8
"""So few different values it stores: a lock that is tried stores what was there."""


def is_spinning(records: bytes) -> bool:
    """Whether some thousand instructions with these accesses did nothing but wait.

    In their second half the same few places are read over and over, and nothing new is stored.
    """
    late = [*read_records(records)]
    late = late[len(late) // 2 :]
    stores = {(access.physical, access.value) for access in late if access.is_store}
    loads = {access.physical for access in late if not access.is_store}
    places = {access.pc for access in late}
    return len(stores) <= _STORES and len(loads) <= _PLACES and len(places) <= _PLACES
