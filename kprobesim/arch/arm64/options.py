"""What the decision about one probe depends on besides the word."""

from __future__ import annotations

from typing import Literal

from kprobesim.arch.arm64.constants import SLOT_SIZE
from kprobesim.late_dataclasses import dataclass

__all__ = ["DEFAULT", "Options", "Stepping"]

Stepping = Literal["breakpoint", "trap"]


@dataclass(frozen=True)
class Options:
    """Which kernel is imitated, and the facts about the probed address that its image tells.

    ``stepping``: how a slot ends, by ``BRK #6`` (since 5.11) or by ``MDSCR_EL1.SS`` (before).
    ``strict``: imitate the kernel where it gets an instruction wrong (SIMD literal loads and
    BC.cond run from the slot, relative to the slot) instead of simulating it right.
    ``slot_size`` in bytes: 4 for the copy alone (before 5.11), 8 with the BRK behind it.
    ``simulate_nop``: NOP takes no slot (since 6.13).
    ``refuse_unknown_hints``: only the hints known to be harmless may be probed (since 5.8); else
    all but those that wait or signal.
    ``narrow_exclusives``: the scan for an open exclusive sequence is not fooled by LDAR, STLR and
    CAS (since 6.15).
    ``refuse_mops``: the memory copy and set instructions are refused (since 6.12; in 6.6.y too).
    ``has_exception_entry``: the address is in the exception table.
    """

    stepping: Stepping = "breakpoint"
    strict: bool = False
    slot_size: int = SLOT_SIZE
    simulate_nop: bool = False
    refuse_unknown_hints: bool = True
    narrow_exclusives: bool = False
    refuse_mops: bool = False
    has_exception_entry: bool = False


DEFAULT = Options()
