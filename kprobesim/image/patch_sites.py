"""Places in the code that a running kernel patches: jump labels, static calls, ftrace's sites.

A probe must not share its bytes with any of them (kernel/kprobes.c, check_kprobe_address_safe).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable

__all__ = [
    "MOST_BEFORE_PLACE",
    "PatchSites",
    "ftrace_place",
    "jump_label_sites",
    "static_call_sites",
]

_JUMP_ENTRY = 16  # struct jump_entry, relative: s32 code, s32 target, s64 key
_STATIC_CALL = 8  # struct static_call_site: s32 addr, s32 key
_CALL_SIZE = 5
_SHORT_JUMPS = (0xEB, 0x66)  # x86 JMP8 and the 2-byte NOP; the 5-byte forms are E9 and 0F 1F

_NOP_PAIR = struct.pack("<2I", 0xD503201F, 0xD503201F)
_BTI_C = struct.pack("<I", 0xD503245F)
#: What may stand between a recorded ARM64 address and the pair of NOPs that is patched, the
#: longest first: it counts.
_BEFORE_PAIR = (_NOP_PAIR + _BTI_C, _NOP_PAIR, _BTI_C, b"")
_NOP_OR_BTI = (_NOP_PAIR[:4], _BTI_C)
_PAIRS = tuple((len(before) + 4, before + _NOP_PAIR) for before in _BEFORE_PAIR)

MOST_BEFORE_PLACE = max(place for place, _ in _PAIRS)
"""How far what ftrace patches may lie behind the address that is recorded for it."""


class PatchSites:
    """Ranges of bytes that are patched; ``sites`` are (address, size)."""

    def __init__(self, sites: Iterable[tuple[int, int]]) -> None:
        self._sites = sorted(sites)
        self._starts = [start for start, _ in self._sites]

    def __len__(self) -> int:
        return len(self._sites)

    def __contains__(self, address: object) -> bool:
        """Whether the byte at ``address`` is patched."""
        if not isinstance(address, int):
            return False
        at = bisect_right(self._starts, address) - 1
        return at >= 0 and address < sum(self._sites[at])


def _relative(start: int, table: bytes, size: int) -> list[int]:
    """The address that the first word of each entry points at, relative to itself."""
    whole = len(table) - len(table) % size
    return [
        start + at + int.from_bytes(table[at : at + 4], "little", signed=True)
        for at in range(0, whole, size)
    ]


def jump_label_sites(
    arch: str, start: int, table: bytes, read: Callable[[int, int], bytes]
) -> PatchSites:
    """``__jump_table`` at ``start``: 4 bytes each on ARM64, 2 or 5 on x86 as the code says."""

    def size(address: int) -> int:
        if arch == "arm64":
            return 4
        return 2 if read(address, 1)[0] in _SHORT_JUMPS else 5

    places = dict.fromkeys(_relative(start, table, _JUMP_ENTRY))
    return PatchSites((place, size(place)) for place in places)


def static_call_sites(start: int, table: bytes) -> PatchSites:
    """``.static_call_sites`` at ``start`` (x86 only)."""
    return PatchSites(
        (place, _CALL_SIZE) for place in dict.fromkeys(_relative(start, table, _STATIC_CALL))
    )


def ftrace_place(arch: str, site: int, read: Callable[[int, int], bytes]) -> int | None:
    """Where ftrace patches for the recorded ``site`` (``ftrace_call_adjust()``); ``None``: nowhere.

    x86: the call itself. ARM64: the second of two NOPs, behind a BTI, or behind two more NOPs in
    front of the function (CALL_OPS, 6.3).
    """
    if arch == "x86_64":
        return site
    code = read(site, 20)
    if code.startswith(_NOP_PAIR) and not code.startswith(_NOP_OR_BTI, len(_NOP_PAIR)):
        return site + 4  # as nearly all of some ten thousand
    for place, start in _PAIRS:
        if code.startswith(start):
            return site + place
    return None
