"""The relocations that an ARM64 kernel applies to itself in its first instructions.

It knows only R_AARCH64_RELATIVE (arch/arm64/kernel/pi/relocate.c, 6.12); entries of other types are
left over by the linker and ignored here as there. RELR tables (CONFIG_RELR) need no work: the words
they name hold the value at the link address already, which is where an image is loaded.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import compress

__all__ = ["apply_rela", "find_rela"]

#: R_AARCH64_RELATIVE
RELATIVE = 0x403
RELA_SIZE = 24
_INFO = re.compile(re.escape(struct.pack("<Q", RELATIVE)))

#: A range of the image: its first address and its bytes.
Range = tuple[int, memoryview]


def apply_rela(ranges: Sequence[Range], table: bytes) -> list[Range]:
    """Apply a table of ``Elf64_Rela`` to ``ranges``: those it changes come back as copies.

    Raises ``ValueError`` for a table or an entry that makes no sense.
    """
    if len(table) % RELA_SIZE:
        raise ValueError("relocation table whose size is no multiple of 24")
    words = array("Q", table)
    if sys.byteorder == "big":
        words.byteswap()
    addresses, values = words[0::3], words[2::3]
    relative = words[1::3]
    if relative.count(RELATIVE) != len(relative):
        which = [info == RELATIVE for info in relative]
        addresses = array("Q", compress(addresses, which))
        values = array("Q", compress(values, which))
    if not addresses:
        return list(ranges)
    result = list(ranges)
    applied = 0
    lowest, highest = min(addresses), max(addresses)
    for number, (base, data) in enumerate(ranges):
        end = base + len(data) - 8
        if highest < base or lowest > end:
            continue
        todo: Iterable[tuple[int, int]] = zip(addresses, values, strict=True)
        if lowest < base or highest > end:
            todo = ((address, value) for address, value in todo if base <= address <= end)
        private = bytearray(data)
        whole = memoryview(private)[: len(private) & ~7].cast("Q")
        aligned = sys.byteorder == "little" and not base & 7
        for address, value in todo:
            applied += 1
            if aligned and not address & 7:
                whole[address - base >> 3] = value
            else:
                struct.pack_into("<Q", private, address - base, value)
        result[number] = base, memoryview(private).toreadonly()
    if applied != len(addresses):
        lost = next(a for a in addresses if not any(b <= a <= b + len(d) - 8 for b, d in ranges))
        raise ValueError(f"relocation of {lost:#x}, outside of the image")
    return result


def find_rela(data: memoryview, start: int, end: int) -> bytes:
    """The RELATIVE entries of the table in ``data``, where no section header tells its place.

    The linker sorts them to the front (-z combreloc), so they are a run of entries that change
    words of the image ``[start, end)`` in rising order; the longest such run is taken. Most values
    are addresses of the image, some are not: 6.12 has zeros for weak functions that were dropped.
    """
    best = (0, 0)
    match = _INFO.search(data, 8)
    while match:
        first = last = match.start() - 8
        previous = start - 1
        sound = 0
        whole = (len(data) - first) // RELA_SIZE * RELA_SIZE
        for address, info, value in struct.iter_unpack("<QQQ", data[first : first + whole]):
            if info != RELATIVE or not previous < address < end:
                break
            sound += start <= value <= end
            previous = address
            last += RELA_SIZE
        if last - first > best[1] - best[0] and sound * 2 * RELA_SIZE > last - first:
            best = first, last
        match = _INFO.search(data, max(last + 8, match.start() + 1))
    return bytes(data[best[0] : best[1]])
