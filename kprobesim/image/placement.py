"""Where in RAM a kernel image lies, whoever puts it there: by a boot loader's rules."""

from __future__ import annotations

from kprobesim.image.kernel_image import KernelImage

__all__ = ["virtual_minus_ram"]

_KERNEL_MAP = 0xFFFF_FFFF_8000_0000  # x86-64 __START_KERNEL_map; RAM begins at 0
_ARM64_ALIGN = 2 << 20  # Documentation/arch/arm64/booting.rst: from there on, text_offset bytes on


def virtual_minus_ram(image: KernelImage) -> int:
    """What an address of ``image`` is greater than its place in RAM, counted from RAM's start."""
    if image.arch == "x86_64":
        return _KERNEL_MAP
    first = image.segments[0].vaddr
    return first - (_ARM64_ALIGN + first % _ARM64_ALIGN)
