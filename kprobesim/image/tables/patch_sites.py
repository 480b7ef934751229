"""Places in the code that a running kernel patches: jump labels, static calls, ftrace's sites.

A probe must not share its bytes with any of them (kernel/kprobes.c, check_kprobe_address_safe).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from kprobesim.arch.architecture import halves
from kprobesim.errors import ImageError
from kprobesim.image.findings import Findings
from kprobesim.image.tables.places import relative_addresses

__all__ = ["PatchSites", "ftrace_places", "jump_label_sites", "static_call_sites"]

_JUMP_ENTRY = 16  # struct jump_entry, relative: s32 code, s32 target, s64 key
_STATIC_CALL = 8  # struct static_call_site: s32 addr, s32 key
_CALL_SIZE = 5
_SHORT_JUMPS = (0xEB, 0x66)  # x86 JMP8 and the 2-byte NOP; the 5-byte forms are E9 and 0F 1F

_NOP_PAIR = struct.pack("<2I", 0xD503201F, 0xD503201F)
_BTI_C = struct.pack("<I", 0xD503245F)
_CALL_OPS = (_NOP_PAIR + _NOP_PAIR, _NOP_PAIR + _BTI_C + _NOP_PAIR)
#: What may stand between a recorded ARM64 address and the pair of NOPs that is patched: without and
#: with CALL_OPS.
_BEFORE_PAIR = ((b"", _BTI_C), (_NOP_PAIR, _NOP_PAIR + _BTI_C))
_MOST_BEFORE = 20  # bytes: the longest of them, and the pair
_MOST_CODE = 256 << 20
_NO_STEP = ord("0")


class PatchSites:
    """Ranges of bytes that are patched; ``sites`` are (address, size)."""

    def __init__(self, sites: Iterable[tuple[int, int]]) -> None:
        self._sites = sorted(sites)
        self._starts = [start for start, _ in self._sites]

    def __len__(self) -> int:
        return len(self._sites)

    def __iter__(self) -> Iterator[int]:
        """Where each begins."""
        return iter(self._starts)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Address and size of each."""
        return iter(self._sites)

    def __contains__(self, address: object) -> bool:
        """Whether the byte at ``address`` is patched."""
        if not isinstance(address, int):
            return False
        return self.any_in(address, address + 1)

    def any_in(self, start: int, end: int) -> bool:
        """Whether one of the bytes in ``[start, end)`` is patched."""
        at = bisect_left(self._starts, end) - 1
        return at >= 0 and start < sum(self._sites[at])


def jump_label_sites(
    arch: str, start: int, table: bytes, read: Callable[[int, int], bytes]
) -> PatchSites:
    """``__jump_table`` at ``start``: 4 bytes each on ARM64, 2 or 5 on x86 as the code says."""
    places = dict.fromkeys(relative_addresses(start, table, _JUMP_ENTRY))
    size = _JUMP_SIZES[arch]
    return PatchSites((place, size(read, place)) for place in places)


_Read = Callable[[int, int], bytes]
_JUMP_SIZES: Mapping[str, Callable[[_Read, int], int]] = halves(
    x86_64=lambda read, place: 2 if read(place, 1)[0] in _SHORT_JUMPS else 5,
    arm64=lambda _read, _place: 4,
)


def static_call_sites(start: int, table: bytes) -> PatchSites:
    """``.static_call_sites`` at ``start`` (x86 only)."""
    return PatchSites(
        (place, _CALL_SIZE)
        for place in dict.fromkeys(relative_addresses(start, table, _STATIC_CALL))
    )


def ftrace_places(
    arch: str, sites: Sequence[int], read: Callable[[int, int], bytes], findings: Findings
) -> frozenset[int]:
    """Where ftrace patches for the recorded ``sites`` (``ftrace_call_adjust()``).

    x86: the calls themselves. ARM64: the second of two NOPs, behind a BTI if there is one. A kernel
    with CALL_OPS (6.3) has two more NOPs in front of each function and records those.
    """
    return _FTRACE_PLACES[arch](sites, read, findings)


def _arm64_ftrace_places(sites: Sequence[int], read: _Read, findings: Findings) -> frozenset[int]:
    steps = findings.once("ftrace_steps", lambda: _ftrace_steps(sites, read)).encode()
    return frozenset(
        site + 4 * (step - _NO_STEP)
        for site, step in zip(sites, steps, strict=True)
        if step != _NO_STEP
    )


def _ftrace_steps(sites: Sequence[int], read: _Read) -> str:
    """A digit for each of ``sites``: so many instructions further on ftrace patches; 0: nowhere."""
    codes = _codes(sites, read)
    with_ops = sum(code.startswith(_CALL_OPS) for code in codes) * 2 > len(codes)
    kinds = [(before + _NOP_PAIR, str(len(before) // 4 + 1)) for before in _BEFORE_PAIR[with_ops]]
    return "".join(
        next((step for kind, step in kinds if code.startswith(kind)), "0") for code in codes
    )


def _codes(sites: Sequence[int], read: _Read) -> list[bytes]:
    """The code at each of ``sites``, by one reading if all of it is there: 40,000 take 40 ms."""
    low = min(sites, default=0)
    span = max(sites, default=0) + _MOST_BEFORE - low
    if span > _MOST_CODE:
        return [read(site, _MOST_BEFORE) for site in sites]
    try:
        whole = read(low, span)
    except ImageError:  # there is a gap in between
        return [read(site, _MOST_BEFORE) for site in sites]
    return [whole[site - low : site - low + _MOST_BEFORE] for site in sites]


_FTRACE_PLACES: Mapping[str, Callable[[Sequence[int], _Read, Findings], frozenset[int]]] = halves(
    x86_64=lambda sites, _read, _findings: frozenset(sites), arm64=_arm64_ftrace_places
)
