"""Where in RAM a kernel image lies, whoever puts it there: by a boot loader's rules."""

from __future__ import annotations

from kprobesim.arch.architecture import X86_64, halves
from kprobesim.image.kernel_image import KernelImage

__all__ = ["module_area", "virtual_minus_ram"]

_KERNEL_MAP = 0xFFFF_FFFF_8000_0000  # x86-64 __START_KERNEL_map; RAM begins at 0
_X86_MODULES_END = 0xFFFF_FFFF_FF00_0000  # MODULES_END
_ARM64_REACH = 128 << 20  # of a branch
_ARM64_ALIGN = 2 << 20  # Documentation/arch/arm64/booting.rst: from there on, text_offset bytes on


def virtual_minus_ram(image: KernelImage) -> int:
    """What an address of ``image`` is greater than its place in RAM, counted from RAM's start."""
    return _MINUS_RAM[image.arch](image)


def module_area(image: KernelImage) -> tuple[int, int]:
    """Where its modules may be: from the first address to that behind the last.

    ARM64's branches are short: ``module_alloc()`` stays so near to the kernel's end.
    """
    return _MODULES[image.arch](image)


def _x86_modules(_image: KernelImage) -> tuple[int, int]:
    return X86_64.modules_start, _X86_MODULES_END


def _arm64_modules(image: KernelImage) -> tuple[int, int]:
    return (image.segments[-1].end - _ARM64_REACH) & -_ARM64_ALIGN, image.segments[0].vaddr


def _arm64_minus_ram(image: KernelImage) -> int:
    first = image.segments[0].vaddr
    return first - (_ARM64_ALIGN + first % _ARM64_ALIGN)


_MINUS_RAM = halves(x86_64=lambda _image: _KERNEL_MAP, arm64=_arm64_minus_ram)
_MODULES = halves(x86_64=_x86_modules, arm64=_arm64_modules)
