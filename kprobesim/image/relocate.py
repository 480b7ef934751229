"""The relocations that an ARM64 kernel applies to itself in its first instructions.

It knows only R_AARCH64_RELATIVE (arch/arm64/kernel/pi/relocate.c, 6.12); entries of other types are
left over by the linker and ignored here as there. RELR tables (CONFIG_RELR) need no work: the words
they name hold the value at the link address already, which is where an image is loaded.
"""

from __future__ import annotations

import struct
import sys

__all__ = ["RELATIVE", "RELA_SIZE", "apply_rela"]

#: R_AARCH64_RELATIVE
RELATIVE = 0x403
RELA_SIZE = 24


def apply_rela(data: bytearray, base: int, table: bytes) -> int:
    """Apply a table of ``Elf64_Rela`` to ``data``, which lies at ``base``; how many were applied.

    Raises ``ValueError`` for an entry outside of ``data``.
    """
    applied = 0
    whole = len(data) & ~7
    limit = len(data) - 8
    aligned = sys.byteorder == "little" and not base & 7
    with memoryview(data) as view, view[:whole].cast("Q") as words:
        for address, info, addend in struct.iter_unpack("<QQQ", table):
            if info != RELATIVE:
                continue
            offset = address - base
            if not 0 <= offset <= limit:
                raise ValueError(f"relocation of {address:#x}, outside of the image")
            if aligned and not offset & 7:
                words[offset >> 3] = addend
            else:
                struct.pack_into("<Q", data, offset, addend)
            applied += 1
    return applied
