"""What a boot loader hands an x86-64 kernel: ``boot_params`` (Documentation/x86/boot.rst, 6.1).

The setup header is made here, not copied from a bzImage: a vmlinux has none, and an unpacked
kernel reads only what the loader itself writes there.
"""

from __future__ import annotations

import struct

__all__ = ["boot_params"]

_COMMAND_LINE_LIMIT = 2047
_SIZE = 4096
_RAM, _RESERVED = 1, 2
_LOW_END, _BIOS, _HIGH = 0x9FC00, 0xF0000, 0x100000


def boot_params(memory: int, command_line: int, initrd: tuple[int, int]) -> bytes:
    """The zero page for ``memory`` bytes of RAM.

    ``command_line`` and ``initrd`` (address, size) are where they lie in physical memory.
    """
    page = bytearray(_SIZE)
    put = struct.pack_into
    put("<B", page, 0x1F1, 1)  # setup_sects
    put("<H", page, 0x1FA, 0xFFFF)  # vid_mode: as it is
    put("<H", page, 0x1FE, 0xAA55)  # boot_flag
    put("<4sH", page, 0x202, b"HdrS", 0x20F)
    put("<B", page, 0x210, 0xFF)  # type_of_loader: none that is registered
    put("<B", page, 0x211, 0x01)  # loadflags: LOADED_HIGH
    put("<II", page, 0x218, initrd[0] & 0xFFFF_FFFF, initrd[1])
    put("<I", page, 0x228, command_line)
    put("<I", page, 0x22C, 0x7FFF_FFFF)  # initrd_addr_max
    put("<IB", page, 0x230, 0x20_0000, 1)  # kernel_alignment, relocatable_kernel
    put("<I", page, 0x238, _COMMAND_LINE_LIMIT)
    e820 = (
        (0, _LOW_END, _RAM),
        (_LOW_END, 0xA0000 - _LOW_END, _RESERVED),
        (_BIOS, _HIGH - _BIOS, _RESERVED),
        (_HIGH, memory - _HIGH, _RAM),
    )
    put("<B", page, 0x1E8, len(e820))
    for n, entry in enumerate(e820):
        put("<QQI", page, 0x2D0 + 20 * n, *entry)
    return bytes(page)
