"""From a file to the kernel in it: packages and compression are taken off, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kprobesim.errors import ImageError
from kprobesim.image.elf import ELF_MAGIC
from kprobesim.image.files.archive import STREAM_LIMIT, is_tar, kernel_from_tar
from kprobesim.image.files.arm64_image import is_arm64_image, is_zboot, zboot_payload
from kprobesim.image.files.bzimage import is_bzimage, unpack_bzimage
from kprobesim.image.files.compression import CompressionError, Packed, compression_of, decompress
from kprobesim.image.files.deb import AR_MAGIC, kernel_from_deb
from kprobesim.image.files.foreign import what_else
from kprobesim.image.files.source import MAX_IMAGE_SIZE, Buffer, stream
from kprobesim.image.files.uki import is_efi_program, kernel_from_uki

__all__ = ["Unpacked", "unpack"]

_HEAD = 1024
_LONG_HEAD = 40 << 10  # of a disk image
_CUT = "it is cut short or damaged, copy or extract it again"
#: More layers than any kernel has: a package, an EFI image, a compressed file, the image.
_MAX_LAYERS = 5


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An ELF file or an ARM64 Image, and what it was packed in."""

    data: Buffer
    container: str
    is_elf: bool


def unpack(path: Path, data: Buffer, progress: Callable[[str], None] | None) -> Unpacked:
    """The kernel in ``data``; ``ImageError`` if none can be found."""
    packages: list[str] = []
    notes: list[str] = []
    bzimage = False
    for _ in range(_MAX_LAYERS):
        head = bytes(data[:_HEAD])
        is_elf = head.startswith(ELF_MAGIC)
        if is_elf or is_arm64_image(head):
            plain = "bzImage" if bzimage else "vmlinux ELF" if is_elf else "arm64 Image"
            note = f" ({', '.join(notes)})" if notes else ""
            return Unpacked(data, ", ".join([*packages, plain + note]), is_elf)
        if head.startswith(AR_MAGIC):
            packages.append("Debian package")
            data = kernel_from_deb(path, data, progress)
        elif is_bzimage(head):
            bzimage = True
            _say(progress, "unpacking the bzImage")
            kind, data = unpack_bzimage(path, data)
            notes.append(kind)
        elif is_zboot(head):
            notes.append("EFI zboot")
            data = zboot_payload(path, data)
        elif kind := compression_of(head) or "":
            data = _unpacked(path, kind, data, packages, notes, progress)
        elif is_tar(head):
            packages.append("tar archive")
            data = _from_tar(path, stream(data), progress)
        elif what := what_else(bytes(data[:_LONG_HEAD])):
            raise ImageError(path, f"is {what}")
        elif is_efi_program(head):
            packages.append("unified kernel image")
            data = kernel_from_uki(path, data)
        else:
            raise ImageError(path, _unknown(head, bool(packages or notes)))
    raise ImageError(path, f"is packed more than {_MAX_LAYERS} times over; unpack it first")


def _unpacked(
    path: Path,
    kind: str,
    data: Buffer,
    packages: list[str],
    notes: list[str],
    progress: Callable[[str], None] | None,
) -> Buffer:
    """What is packed in ``data``; of an archive, the kernel in it."""
    try:
        if is_tar(Packed(kind, data).file(STREAM_LIMIT).read(512)):
            packages.append(f"tar archive ({kind})")
            return _from_tar(path, Packed(kind, data).file(STREAM_LIMIT), progress)
        _say(progress, f"unpacking {kind} data")
        notes.append(kind)
        return decompress(Packed(kind, data), MAX_IMAGE_SIZE)
    except CompressionError as error:
        raise ImageError(path, f"{error}; {_CUT}") from error


def _from_tar(path: Path, file: IO[bytes], progress: Callable[[str], None] | None) -> Buffer:
    data = kernel_from_tar(path, "archive", file, _CUT, progress)
    if data is None:
        raise ImageError(
            path, "is a tar archive without a kernel (vmlinuz, vmlinux, Image); name another one"
        )
    return data


def _say(progress: Callable[[str], None] | None, text: str) -> None:
    if progress is not None:
        progress(text)


def _unknown(head: bytes, unpacked: bool) -> str:
    where = "what it was unpacked to is" if unpacked else "is"
    return (
        f"{where} no kernel image: it starts with {head[:8].hex(' ') or 'nothing'}; name a "
        "vmlinux, bzImage (vmlinuz), ARM64 Image or Debian linux-image package"
    )
