"""Where a kernel's section of per-CPU data was linked to, also where nothing of it has a symbol.

Without CONFIG_KALLSYMS_ALL it has none. But BTF tells where in the section each variable lies, and
of one of them, ``__entry_task`` on ARM64, the kernel's entry code holds the address.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from kprobesim.arch.architecture import halves
from kprobesim.errors import ImageError
from kprobesim.image import KernelImage
from kprobesim.sizes import MASK64
from kprobesim.typed.variables import find_variable

__all__ = ["CURRENT_NAMES", "find_entry_task", "per_cpu_section"]

CURRENT_NAMES = ("current_task", "pcpu_hot")
"""Per-CPU variables of x86-64 that begin with a pointer to the running task."""

_ENTRY_TASK = "__entry_task"
_USER_ENTRY = ("el0t_64_sync", "el0_sync")
_ENTRY_BYTES = 1024


def per_cpu_section(image: KernelImage) -> int:
    """The address that the section of per-CPU data was linked to.

    Raises:
        ImageError: The kernel does not tell.
    """
    btf, found = image.btf, _KNOWN[image.arch](image)
    known = find_variable(found[0], [btf]) if btf is not None and found is not None else None
    if known is None or known.place is None or found is None:
        raise ImageError(
            image.path,
            "does not tell where its per-CPU data are: it was built without "
            "CONFIG_DEBUG_INFO_BTF, or by a pahole that left them out",
        )
    return found[1] - known.place & MASK64


def _x86_known(image: KernelImage) -> tuple[str, int] | None:
    found = [s for name in CURRENT_NAMES for s in image.symbols.candidates(name)]
    return (found[0].name, found[0].address) if found else None


def _arm64_known(image: KernelImage) -> tuple[str, int] | None:
    address = find_entry_task(image)
    return None if address is None else (_ENTRY_TASK, address)


#: The name and the address of a variable in the section.
_KNOWN: Mapping[str, Callable[[KernelImage], tuple[str, int] | None]] = halves(
    x86_64=_x86_known, arm64=_arm64_known
)


def find_entry_task(image: KernelImage) -> int | None:
    """The address of ``__entry_task``, in the section; ``None`` if nothing tells it."""
    found = image.symbols.candidates(_ENTRY_TASK)
    return found[0].address if found else _loaded_at_entry(image)


def _loaded_at_entry(image: KernelImage) -> int | None:
    """What the entry from user mode loads from: ``adrp``, ``add``, ``mrs tpidr_el1``, ``ldr``."""
    for name in _USER_ENTRY:
        for symbol in image.symbols.candidates(name):
            code = image.read(symbol.address, _ENTRY_BYTES)
            values: dict[int, int] = {}  # of registers that hold the address of something
            offset = 31  # the register that holds the per-CPU offset
            for index, (word,) in enumerate(struct.iter_unpack("<I", code)):
                rd, rn = word & 31, word >> 5 & 31
                if word & 0x9F00_0000 == 0x9000_0000:  # adrp
                    pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
                    pages -= (pages & 1 << 20) << 1
                    values[rd] = (symbol.address + 4 * index & ~0xFFF) + (pages << 12)
                elif word & 0xFFC0_0000 == 0x9100_0000 and rn in values:  # add immediate
                    values[rd] = values[rn] + (word >> 10 & 0xFFF)
                elif word & ~0x1F == 0xD538_D080:  # mrs, tpidr_el1
                    offset = rd
                elif word & 0xFFFF_FC00 == 0xF860_6800 | offset << 16 and rn in values:
                    return values[rn] & MASK64  # ldr xd, [xn, xm]
    return None
