"""``load_image``: any file that holds a kernel becomes a ``KernelImage``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from kprobesim.errors import ImageError
from kprobesim.image.elf import ELF_MAGIC, Elf
from kprobesim.image.kernel_image import KernelImage
from kprobesim.image.source import map_file
from kprobesim.image.symbols import Columns
from kprobesim.image.symtab import has_symtab, read_symtab
from kprobesim.image.vmlinux import vmlinux_segments

__all__ = ["load_image"]


def load_image(
    path: str | os.PathLike[str],
    *,
    symbols: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> KernelImage:
    """Load the kernel image ``path``; what it is, is found from its content.

    Raises ``ImageError`` for a file that is no kernel image of x86-64 or ARM64, or a damaged one.
    """
    path = Path(path)
    data = map_file(path)
    if data[:4] != ELF_MAGIC:
        raise ImageError(path, "is no kernel image that kprobesim knows")
    return _from_elf(path, Elf(path, data), "vmlinux ELF")


def _from_elf(path: Path, elf: Elf, container: str) -> KernelImage:
    segments, percpu = vmlinux_segments(elf)

    def columns(_image: KernelImage) -> tuple[Columns, str]:
        return read_symtab(elf), ".symtab"

    return KernelImage(
        path,
        elf.arch,
        container,
        elf.entry,
        segments,
        section_headers=elf.sections,
        read_columns=columns if has_symtab(elf) else None,
        percpu_load=percpu,
    )
