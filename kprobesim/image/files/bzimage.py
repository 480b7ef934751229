"""The x86 boot image: real-mode set-up code, a decompressor, and the packed vmlinux.

Offsets: Documentation/arch/x86/boot.rst (6.12), protocol 2.08 and later.
"""

from __future__ import annotations

import struct
from pathlib import Path

from kprobesim.errors import ImageError
from kprobesim.image.files.compression import CompressionError, compression_of, decompress
from kprobesim.image.files.source import MAX_IMAGE_SIZE, Buffer

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


def unpack_bzimage(path: Path, data: Buffer) -> tuple[str, bytes]:
    """The name of the compression, and the vmlinux that was packed."""
    if len(data) < _PAYLOAD + 8:
        raise ImageError(path, f"is a bzImage of only {len(data)} bytes; {_CUT}")
    (version,) = struct.unpack_from("<H", data, _VERSION)
    if version < 0x208:
        raise ImageError(
            path,
            f"is a bzImage of boot protocol {version >> 8}.{version & 0xFF:02}, before Linux "
            "2.6.26; kprobesim reads 2.08 and later",
        )
    offset, length = struct.unpack_from("<II", data, _PAYLOAD)
    start = ((data[_SETUP_SECTS] or 4) + 1) * 512 + offset
    if length < 8 or start + length > len(data):
        raise ImageError(
            path, f"its payload ends at byte {start + length} but the file has {len(data)}; {_CUT}"
        )
    payload = memoryview(data)[start : start + length]
    kind = compression_of(bytes(payload[:8]))
    if kind is None:
        raise ImageError(path, f"its payload starts with no known compression; {_CUT}")
    # The build appends the unpacked size; for gzip that is the last word of the format itself.
    (size,) = struct.unpack_from("<I", payload, length - 4)
    if size > MAX_IMAGE_SIZE:
        raise ImageError(path, f"its payload would unpack to {size} bytes, over 1 GiB; {_CUT}")
    try:
        unpacked = decompress(kind, payload if kind == "gzip" else payload[:-4], size)
    except CompressionError as error:
        raise ImageError(path, f"its payload {error}; {_CUT}") from error
    if len(unpacked) != size:
        raise ImageError(
            path, f"its payload unpacks to {len(unpacked)} bytes instead of {size}; {_CUT}"
        )
    return kind, unpacked
