"""``Seen``: an access of a run that is looked at, with what its instruction tells."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Seen"]


class Seen(NamedTuple):
    """An access to memory that CPUs share.

    Attributes:
        number: Of all accesses in the log.
        cpu: Whose.
        step: The instructions of that CPU before.
        pc: The address of the instruction.
        physical: Where.
        size: Bytes.
        value: What is stored.
        is_store: Whether it stores.
        how: What its instruction tells: bits of :class:`.access_kinds.How`.
    """

    number: int
    cpu: int
    step: int
    pc: int
    physical: int
    size: int
    value: int
    is_store: bool
    how: int
