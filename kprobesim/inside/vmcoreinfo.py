"""What a crashed kernel's memory is read by: the guest's own vmcoreinfo, or one of ours.

kernel/crash_core.c (since 6.11 kernel/vmcore_info.c): lines ``KEY=value`` in a page of their own,
written once while the kernel boots. The first is ``OSRELEASE=``.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping

from kprobesim.image import KernelImage
from kprobesim.sizes import PAGE

__all__ = ["find_vmcoreinfo", "symbols_in", "written_vmcoreinfo"]

_FIRST = b"OSRELEASE="
_SYMBOL = re.compile(rb"^SYMBOL\((\w+)\)=([0-9a-f]+)$", re.MULTILINE)
_MARKS = (b"\nPAGESIZE=", b"\nSYMBOL(")


def find_vmcoreinfo(ram: mmap.mmap) -> bytes | None:
    """What the kernel in ``ram`` has written; ``None`` if it has not booted so far."""
    at = ram.find(_FIRST)
    while at >= 0:
        if at % PAGE == 0:
            data = ram[at : at + PAGE].partition(b"\0")[0]
            if all(mark in data for mark in _MARKS):
                return data
        at = ram.find(_FIRST, at + 1)
    return None


def symbols_in(vmcoreinfo: bytes) -> Mapping[str, int]:
    """The addresses of variables that it tells."""
    return {name.decode(): int(value, 16) for name, value in _SYMBOL.findall(vmcoreinfo)}


def written_vmcoreinfo(image: KernelImage) -> bytes:
    """As much of it as drgn needs, for a kernel that has not written its own.

    Page tables are given a place that nobody looks at: virtual addresses are read through us.
    """
    somewhere = max(segment.vaddr for segment in image.segments)
    lines = [f"OSRELEASE={image.release}", f"PAGESIZE={PAGE}", "KERNELOFFSET=0"]
    lines += [f"BUILD-ID={image.build_id}"] if image.build_id else []
    lines += [f"SYMBOL(swapper_pg_dir)={somewhere:x}", "NUMBER(pgtable_l5_enabled)=0"]
    return "\n".join([*lines, "NUMBER(VA_BITS)=48", ""]).encode()
