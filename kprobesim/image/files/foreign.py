"""What people have at hand that is no kernel of ours: named, and what to do with it."""

from __future__ import annotations

import re

__all__ = ["what_else"]

#: Where first bytes lie, what they are, and what that is.
_MAGICS = (
    (0, b"\xed\xab\xee\xdb", "an RPM package; take the kernel out: rpm2cpio FILE | cpio -id"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree or FIT image; take the kernel out with dumpimage"),
    (0, b"\x27\x05\x19\x56", "a U-Boot image; take the kernel out with dumpimage"),
    (0, b"KDUMP", "a crash dump; name the kernel image it was taken from"),
    (0, b"ANDROID!", "an Android boot image; take the kernel out with unpack_bootimg"),
    (0, b"hsqs", "a squashfs file system; name the kernel image in it"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (0, b"07070", "an initramfs (cpio); name the kernel, and this as initrd= (boot --initrd)"),
    (0, b"QFI\xfb", "a disk image; name the kernel image in it"),
    (0x8001, b"CD001", "a disk image; name the kernel image in it"),
    (0, b"\x9f\xeb\x01", "BTF, the types of a kernel; name the kernel image itself"),
    (0, b"\xeb\x9f\x01", "BTF of a big-endian kernel; kprobesim runs little-endian ones"),
    (0x24, b"\x18\x28\x6f\x01", "a zImage for 32-bit ARM; kprobesim runs x86-64 and ARM64"),
    (0x38, b"RSC\x05", "an Image for RISC-V; kprobesim runs x86-64 and ARM64"),
    (0, b"\x5a\x4d\x00\x00", "a byte-swapped file"),
)
_SYMBOLS = re.compile(rb"[0-9a-f]{16} [A-Za-z?] \S+")


def what_else(head: bytes) -> str | None:
    """What starts with ``head``, 1 KiB or more, as the end of "is ..."; ``None`` if unknown."""
    for at, magic, what in _MAGICS:
        if head.startswith(magic, at):
            return what
    if _SYMBOLS.match(head):
        return "a list of symbols; name the kernel image, and this as symbols= (--symbols)"
    return None
