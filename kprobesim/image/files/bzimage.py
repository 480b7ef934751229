"""The x86 boot image: real-mode set-up code, a decompressor, and the packed vmlinux.

Offsets: Documentation/arch/x86/boot.rst (6.12), protocol 2.08 and later.
"""

from __future__ import annotations

import struct
from pathlib import Path

from kprobesim.errors import ImageError
from kprobesim.image.files.compression import CompressionError, Packed, compression_of, decompress
from kprobesim.image.files.source import Buffer, Window

__all__ = ["is_bzimage", "unpack_bzimage"]

_SETUP_SECTS = 0x1F1
_BOOT_FLAG = 0x1FE
_HEADER_MAGIC = 0x202
_VERSION = 0x206
_PAYLOAD = 0x248
_CUT = "the file is cut short or damaged; copy or extract it again"


def is_bzimage(head: bytes) -> bool:
    """Whether the first 1 KiB ``head`` has an x86 set-up header."""
    return (
        head[_HEADER_MAGIC : _HEADER_MAGIC + 4] == b"HdrS" and head[_BOOT_FLAG:][:2] == b"\x55\xaa"
    )


def unpack_bzimage(path: Path, data: Buffer) -> tuple[str, bytearray]:
    """The name of the compression, and the vmlinux that was packed."""
    head = data[:1024]
    if len(head) < _PAYLOAD + 8:
        raise ImageError(path, f"is a bzImage of only {len(data)} bytes; {_CUT}")
    (version,) = struct.unpack_from("<H", head, _VERSION)
    if version < 0x208:
        raise ImageError(
            path,
            f"is a bzImage of boot protocol {version >> 8}.{version & 0xFF:02}, before Linux "
            "2.6.26; kprobesim reads 2.08 and later",
        )
    offset, length = struct.unpack_from("<II", head, _PAYLOAD)
    start = ((head[_SETUP_SECTS] or 4) + 1) * 512 + offset
    if length < 8 or start + length > len(data):
        raise ImageError(
            path, f"its payload ends at byte {start + length} but the file has {len(data)}; {_CUT}"
        )
    payload = Window(data, start, length)
    kind = compression_of(payload[:8])
    if kind is None:
        raise ImageError(path, f"its payload starts with no known compression; {_CUT}")
    packed = Packed(kind, payload)
    try:
        unpacked = decompress(packed)
    except CompressionError as error:
        raise ImageError(path, f"its payload {error}; {_CUT}") from error
    # Behind it the build appends the size, but for gzip, which has it itself; and others may add.
    size = int.from_bytes(payload[packed.end : packed.end + 4], "little")
    if kind != "gzip" and len(unpacked) != size:
        raise ImageError(
            path, f"its payload unpacks to {len(unpacked)} bytes instead of {size}; {_CUT}"
        )
    return kind, unpacked
