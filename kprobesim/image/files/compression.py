"""Decompression of kernel payloads: streaming, with a limit, and errors of one kind."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator

import lz4.block
import zstandard

from kprobesim.image.files.source import MAX_IMAGE_SIZE

__all__ = ["MAGICS", "CompressionError", "compression_of", "decompress"]

#: First bytes -> format, as the kernel's lib/decompress.c (6.12) tells them apart.
MAGICS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x5d\x00\x00": "LZMA",
    b"\xfd7zXZ\x00": "XZ",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x02\x21\x4c\x18": "LZ4",
    b"\x89LZO": "LZO",
}

_CHUNK = 1 << 20
#: Block size of the LZ4 legacy format.
_LZ4_BLOCK = 8 << 20
#: A kernel packed with zstd -22 --ultra needs a window of 128 MiB.
_ZSTD_WINDOW = 1 << 27


class CompressionError(Exception):
    """Compressed data that is cut short, damaged, too large or of a format that is not read."""


def compression_of(data: bytes) -> str | None:
    """The compression that starts with these first bytes."""
    return next((name for magic, name in MAGICS.items() if data.startswith(magic)), None)


def decompress(kind: str, data: memoryview, limit: int = MAX_IMAGE_SIZE) -> bytes:
    """All of the stream in ``data``; what follows its end is ignored.

    Raises ``CompressionError``, also when there would be more than ``limit`` bytes.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in _STREAMS[kind](data):
            size += len(chunk)
            if size > limit:
                raise CompressionError(f"unpacks to more than {limit} bytes")
            chunks.append(chunk)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError) as error:
        raise CompressionError(f"holds damaged {kind} data ({error})") from error
    except (ValueError, RuntimeError, lz4.block.LZ4BlockError) as error:
        raise CompressionError(f"holds damaged {kind} data ({error})") from error
    return b"".join(chunks)


def _feed(
    data: memoryview,
    step: Callable[[bytes, int], bytes],
    done: Callable[[], bool],
    hungry: Callable[[], bool],
) -> Iterator[bytes]:
    """Run a decompressor object that yields at most a chunk at a time."""
    at = 0
    while not done():
        piece = b""
        if hungry():
            piece = bytes(data[at : at + _CHUNK])
            at += len(piece)
            if not piece:
                raise EOFError("it ends too early")
        yield step(piece, _CHUNK)


def _gzip(data: memoryview) -> Iterator[bytes]:
    inflater = zlib.decompressobj(wbits=31)
    at = 0
    rest = b""
    while not inflater.eof:
        if not rest:
            rest = bytes(data[at : at + _CHUNK])
            at += len(rest)
            if not rest:
                raise EOFError("it ends too early")
        yield inflater.decompress(rest, _CHUNK)
        rest = inflater.unconsumed_tail


def _bzip2(data: memoryview) -> Iterator[bytes]:
    decoder = bz2.BZ2Decompressor()
    return _feed(data, decoder.decompress, lambda: decoder.eof, lambda: decoder.needs_input)


def _xz(data: memoryview) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    return _feed(data, decoder.decompress, lambda: decoder.eof, lambda: decoder.needs_input)


def _lzma(data: memoryview) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
    return _feed(data, decoder.decompress, lambda: decoder.eof, lambda: decoder.needs_input)


def _zstd(data: memoryview) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    with decoder.stream_reader(data, read_across_frames=False) as reader:
        while chunk := reader.read(_CHUNK):
            yield chunk
    # The reader takes a stream that is cut short for its end; the frame knows better.
    size = zstandard.frame_content_size(bytes(data[:32]))
    if size >= 0 and reader.tell() != size:
        raise EOFError("it ends too early")


def _lz4_legacy(data: memoryview) -> Iterator[bytes]:
    """Frames of the legacy format: a magic number, then blocks with their sizes in front."""
    at = 4
    while at + 4 <= len(data):
        (size,) = struct.unpack_from("<I", data, at)
        if size == 0x184C2102:  # another stream follows
            at += 4
            continue
        if size == 0:
            return
        at += 4
        if at + size > len(data):
            raise EOFError("it ends too early")
        block = bytes(data[at : at + size])
        yield lz4.block.decompress(block, uncompressed_size=_LZ4_BLOCK)
        at += size


def _lzo(_data: memoryview) -> Iterator[bytes]:
    raise CompressionError("is packed with LZO, which is not supported; unpack it with lzop first")


_STREAMS: dict[str, Callable[[memoryview], Iterator[bytes]]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "LZMA": _lzma,
    "XZ": _xz,
    "zstd": _zstd,
    "LZ4": _lz4_legacy,
    "LZO": _lzo,
}
