"""What one instruction does to argument registers, and where it leads."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["ALL", "Effect", "Leads"]

#: Every argument register: what is not understood reads them all.
ALL = 0xFF


class Leads(enum.Enum):
    """Where the processor goes after an instruction."""

    ON = "to the next"
    JUMP = "to its target"
    BRANCH = "to its target, or the next"
    CALL = "to its target, and then to the next"
    AWAY = "nowhere that is known"


class Effect(NamedTuple):
    """Sets of argument registers as bits, the first argument's the lowest.

    ``reads`` errs towards too many and ``writes``, all of the register, towards too few.
    """

    length: int
    reads: int = 0
    writes: int = 0
    leads: Leads = Leads.ON
    target: int = 0
