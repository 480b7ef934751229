"""What a crashed kernel's memory is read by: the guest's own vmcoreinfo, or one of ours.

kernel/crash_core.c (since 6.11 kernel/vmcore_info.c): lines ``KEY=value`` in a page of their own,
written once while the kernel boots. The first is ``OSRELEASE=``.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Mapping

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


def written_vmcoreinfo(release: str, page_size: int, address: Callable[[str], int | None]) -> bytes:
    """As much of it as drgn needs, for a kernel that has not written its own.

    Args:
        release: What ``uname -r`` says.
        page_size: Bytes of a page.
        address: Where a symbol is.
    """
    lines = [f"OSRELEASE={release}", f"PAGESIZE={page_size}", "KERNELOFFSET=0"]
    for name in ("swapper_pg_dir", "_stext", "init_uts_ns"):
        found = address(name)
        lines.append(f"SYMBOL({name})={found or 0:x}")
    lines += ["NUMBER(phys_base)=0", "NUMBER(pgtable_l5_enabled)=0", "NUMBER(VA_BITS)=48"]
    return "\n".join([*lines, ""]).encode()
