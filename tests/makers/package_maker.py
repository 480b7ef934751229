"""Debian packages, boot images and compressed payloads made for tests."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable

import lz4.block
import zstandard
from lzallright import LZOCompressor


def lz4_legacy(data: bytes) -> bytes:
    out = struct.pack("<I", 0x184C2102)
    for at in range(0, len(data), 8 << 20):
        block = lz4.block.compress(data[at : at + (8 << 20)], store_size=False)
        out += struct.pack("<I", len(block)) + block
    return out


def lzop(data: bytes) -> bytes:
    """As ``lzop -9`` packs the payload of a kernel: named, with Adler-32 of what is unpacked."""
    versions, name = (0x1040, 0x2080, 0x0940), b"vmlinux"
    head = struct.pack(">HHHBBIIIIB", *versions, 3, 9, 1, 0o100644, 0, 0, len(name)) + name
    out = b"\x89LZO\0\r\n\x1a\n" + head + struct.pack(">I", zlib.adler32(head))
    for at in range(0, len(data), 256 << 10):
        block = data[at : at + (256 << 10)]
        packed = LZOCompressor().compress(block)
        packed = packed if len(packed) < len(block) else block
        out += struct.pack(">III", len(block), len(packed), zlib.adler32(block)) + packed
    return out + bytes(4)


COMPRESS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "LZMA": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "XZ": lambda data: lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "LZ4": lz4_legacy,
    "LZO": lzop,
}


def make_bzimage(payload: bytes, kind: str, *, size: int | None = None) -> bytes:
    """A bzImage: set-up sectors, some decompressor bytes, the payload and its size."""
    packed = COMPRESS[kind](payload)
    if kind != "gzip":
        packed += struct.pack("<I", len(payload) if size is None else size)
    setup = bytearray(4 * 512 + 512)
    setup[:2] = b"MZ"
    setup[0x1F1] = 4
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    struct.pack_into("<II", setup, 0x248, 0x300, len(packed))
    return bytes(setup) + bytes(0x300) + packed + bytes(64)


def make_zboot(payload: bytes, kind: str) -> bytes:
    packed = COMPRESS[kind](payload)
    head = b"MZ\0\0zimg" + struct.pack("<II", 0x1000, len(packed)) + bytes(8) + kind.encode()
    return head.ljust(0x1000, b"\0") + packed


def make_uki(payload: bytes, section: bytes = b".linux") -> bytes:
    """The smallest PE32+ file with one section."""
    size, padded = len(payload), len(payload) + 0x1FF & ~0x1FF
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
    head += struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x206)
    head += struct.pack("<HBBIIIIIQII", 0x20B, 14, 0, 0, size, 0, 0, 0x1000, 1 << 32, 0x1000, 0x200)
    head += struct.pack("<HHHHHHIIIIHH", 6, 0, 0, 0, 6, 0, 0, 0x1000 + padded, 0x200, 0, 10, 0)
    head += struct.pack("<QQQQII", 0x100000, 0x1000, 0x100000, 0x1000, 0, 16) + bytes(128)
    head += section.ljust(8, b"\0") + struct.pack(
        "<IIIIIIHHI", size, 0x1000, padded, 0x200, *[0] * 5
    )
    return head.ljust(0x200, b"\0") + payload.ljust(padded, b"\0")


def make_tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


TAR_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": COMPRESS["XZ"],
    ".zst": COMPRESS["zstd"],
}


def make_deb(files: dict[str, bytes], ending: str = ".xz", control: str = "Package: x\n") -> bytes:
    members = {
        "debian-binary": b"2.0\n",
        "control.tar" + ending: TAR_COMPRESS[ending](make_tar({"./control": control.encode()})),
        "data.tar" + ending: TAR_COMPRESS[ending](make_tar(files)),
    }
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) & 1)
    return out


def make_arm64_image(
    text: bytes, *, base: int, pointers: list[int], image_size: int = 0, flags: int = 0xA
) -> bytes:
    """An Image: header, ``text``, then words that are addresses."""
    body = text + b"".join(struct.pack("<Q", p) for p in pointers)
    size = image_size or 64 + len(body)
    head = struct.pack("<IIQQQ24s4sI", 0x14000010, 0, 0, size, flags, b"", b"ARM\x64", 0)
    return head + body
