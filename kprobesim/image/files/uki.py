"""Unified kernel images: an EFI program that carries the kernel as its section ``.linux``.

What distributions sign and boot as one file (the UAPI group's "Unified Kernel Image" format).
"""

from __future__ import annotations

from pathlib import Path

from kprobesim.errors import ImageError
from kprobesim.image.files.pe import pe_sections
from kprobesim.image.files.source import Buffer, Window

__all__ = ["is_efi_program", "kernel_from_uki"]

_SECTION = b".linux"
_HEADER_AT = 0x3C  # e_lfanew of the DOS header


def is_efi_program(head: bytes) -> bool:
    """Whether ``head`` starts a PE file; a bzImage and an ARM64 Image do, too: ask these first."""
    return head.startswith(b"MZ")


def kernel_from_uki(path: Path, data: Buffer) -> Buffer:
    """The content of ``.linux``; ``ImageError`` if this is no unified kernel image."""
    header = int.from_bytes(data[_HEADER_AT : _HEADER_AT + 4], "little")
    section = next((s for s in pe_sections(data, header) if s.name == _SECTION), None)
    if section is None:
        raise ImageError(
            path,
            "is an EFI program without a kernel in it (no section .linux); name a vmlinux, "
            "bzImage (vmlinuz), ARM64 Image, unified kernel image or Debian linux-image package",
        )
    if section.offset + section.size > len(data):
        raise ImageError(
            path,
            f"its section .linux ends at byte {section.offset + section.size} but the file has "
            f"{len(data)}; it is cut short, copy it again",
        )
    return Window(data, section.offset, min(section.size, section.virtual_size or section.size))
