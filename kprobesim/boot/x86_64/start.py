"""The state in which a boot loader enters an x86-64 kernel (Documentation/x86/boot.rst, 6.1).

64-bit boot protocol: long mode, an identity map, flat segments 0x10 and 0x18, interrupts off, RSI
at the boot parameters.
"""

from __future__ import annotations

import mmap
import struct

from kprobesim.boot.x86_64.params import boot_params
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.machine.unicorn.engine import Engine

__all__ = ["KERNEL_MAP", "SCRATCH", "load", "start"]

KERNEL_MAP = 0xFFFF_FFFF_8000_0000  # __START_KERNEL_map: virtual minus physical

# Below 1 MiB, where no kernel lies.
SCRATCH = 0x5000
"""A page of RAM that nobody uses before the kernel starts."""
_GDT, _PARAMS, _COMMAND_LINE, _TABLES = 0x6000, 0x7000, 0x8000, 0x10000
_GIB = 1 << 30
_IDENTITY_GIBS = 4
_PAGE_BITS, _BLOCK = 3, 0x80  # present, writable

_DESCRIPTORS = (0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
_CR0, _CR4 = 0x8005_0033, 0x20
_EFER_LONG_MODE = 0x500


def load(ram: mmap.mmap, image: KernelImage, initrd: bytes, append: str) -> None:
    """Put kernel, initial RAM disk, command line and tables into ``ram``."""
    end = 0
    for segment in image.segments:
        at = segment.paddr
        end = max(end, at + segment.memsz)
        if end > len(ram) or at < 1 << 20:
            raise UsageError(
                f"{image.path} does not fit: it wants memory from {at:#x} to {end:#x}; "
                f"give the guest more than {len(ram) >> 20} MiB"
            )
        ram[at : at + len(segment.data)] = segment.data
    top = min(len(ram), 0x7FFF_FFFF) - len(initrd) & ~0xFFF
    if top < end + (32 << 20):
        raise UsageError(
            f"kernel and initrd need {(end + len(initrd) >> 20) + 33} MiB of memory, "
            f"the guest has {len(ram) >> 20}"
        )
    ram[top : top + len(initrd)] = initrd
    command_line = append.encode()
    ram[_COMMAND_LINE : _COMMAND_LINE + len(command_line) + 1] = command_line + b"\0"
    params = boot_params(len(ram), _COMMAND_LINE, (top if initrd else 0, len(initrd)))
    ram[_PARAMS : _PARAMS + len(params)] = params
    gdt = struct.pack(f"<{len(_DESCRIPTORS)}Q", *_DESCRIPTORS)
    ram[_GDT : _GDT + len(gdt)] = gdt
    _identity_map(ram)


def _identity_map(ram: mmap.mmap) -> None:
    third = _TABLES + 0x1000
    struct.pack_into("<Q", ram, _TABLES, third | _PAGE_BITS)
    for gib in range(_IDENTITY_GIBS):
        second = third + 0x1000 * (gib + 1)
        struct.pack_into("<Q", ram, third + 8 * gib, second | _PAGE_BITS)
        blocks = range(gib * _GIB, (gib + 1) * _GIB, 2 << 20)
        entries = (block | _PAGE_BITS | _BLOCK for block in blocks)
        struct.pack_into("<512Q", ram, second, *entries)


def start(engine: Engine, image: KernelImage) -> None:
    """Set the CPU's registers for the kernel's first instruction."""
    engine.write_register("cr3", _TABLES)
    engine.write_register("cr4", _CR4)
    engine.write_msr(0xC0000080, _EFER_LONG_MODE)
    engine.write_register("cr0", _CR0)
    engine.write_table("gdt", _GDT, 8 * len(_DESCRIPTORS) - 1)
    engine.write_table("idt", 0, 0)
    engine.write_register("cs", 0x10)
    for name in ("ss", "ds", "es"):
        engine.write_register(name, 0x18)
    engine.write_flags(2)
    entry = image.entry
    engine.words[16] = entry - KERNEL_MAP if entry >= KERNEL_MAP else entry
    engine.words[6] = _PARAMS
