"""Tables of addresses, and how a table's place is known."""

from __future__ import annotations

import struct
import sys
from array import array

__all__ = [
    "ALWAYS_BLACKLISTED",
    "BUG_TABLE",
    "CFI_TRAPS",
    "EXCEPTION_TABLE",
    "JUMP_TABLE",
    "KPROBE_BLACKLIST",
    "MCOUNT_SITES",
    "STATIC_CALLS",
    "addresses",
    "relative_addresses",
]

#: Start symbol, stop symbol and, where vmlinux keeps one, the section.
EXCEPTION_TABLE = ("__start___ex_table", "__stop___ex_table", "__ex_table")
BUG_TABLE = ("__start___bug_table", "__stop___bug_table", "__bug_table")
MCOUNT_SITES = ("__start_mcount_loc", "__stop_mcount_loc", "__mcount_loc")
JUMP_TABLE = ("__start___jump_table", "__stop___jump_table", "__jump_table")
CFI_TRAPS = ("__start___kcfi_traps", "__stop___kcfi_traps", "__kcfi_traps")
STATIC_CALLS = ("__start_static_call_sites", "__stop_static_call_sites", ".static_call_sites")
KPROBE_BLACKLIST = (
    "__start_kprobe_blacklist",
    "__stop_kprobe_blacklist",
    "_kprobe_blacklist",
)

#: NOKPROBE_SYMBOL functions of kernel/kprobes.c and kernel/notifier.c in every version (5.10-7.2).
ALWAYS_BLACKLISTED = ("get_kprobe", "notify_die")


def addresses(table: bytes) -> array[int]:
    """The 64-bit addresses of a table; zeros (sites of dropped weak functions) are left out."""
    words = array("Q")
    words.frombytes(table[: len(table) & ~7])
    if sys.byteorder == "big":
        words.byteswap()
    return array("Q", filter(None, words)) if 0 in words else words


def relative_addresses(start: int, table: bytes, size: int) -> list[int]:
    """What the first word of each entry of ``size`` bytes points at, as a distance from itself.

    ``start`` is the address of the table; an entry that is cut short is left out.
    """
    whole = len(table) - len(table) % size
    rows = struct.iter_unpack(f"<i{size - 4}x", table[:whole])
    return [start + at + to for at, (to,) in zip(range(0, whole, size), rows, strict=True)]
