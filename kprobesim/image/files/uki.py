"""Unified kernel images: an EFI program that carries the kernel as its section ``.linux``.

What distributions sign and boot as one file (the UAPI group's "Unified Kernel Image" format). PE
files are read by lief, which knows them better than we ever need to.
"""

from __future__ import annotations

from pathlib import Path

from kprobesim.errors import ImageError
from kprobesim.image.files.source import MAX_IMAGE_SIZE, Buffer, check_size

__all__ = ["is_efi_program", "kernel_from_uki"]

_SECTION = ".linux"


def is_efi_program(head: bytes) -> bool:
    """Whether ``head`` starts a PE file; a bzImage and an ARM64 Image do, too: ask these first."""
    return head.startswith(b"MZ")


def kernel_from_uki(path: Path, data: Buffer) -> bytes:
    """The content of ``.linux``; ``ImageError`` if this is no unified kernel image."""
    import lief  # half of all start-up time, and needed for this kind of file only

    config = lief.PE.ParserConfig()
    config.parse_signature = config.parse_imports = False
    config.parse_rsrc = config.parse_reloc = config.parse_exports = False
    lief.logging.disable()
    check_size(path, data, MAX_IMAGE_SIZE, "an EFI program")
    binary = lief.PE.parse(bytes(data), config)
    section = None if binary is None else binary.get_section(_SECTION)
    if section is None:
        raise ImageError(
            path,
            "is an EFI program without a kernel in it (no section .linux); name a vmlinux, "
            "bzImage (vmlinuz), ARM64 Image, unified kernel image or Debian linux-image package",
        )
    return bytes(section.content)[: section.virtual_size or None]
