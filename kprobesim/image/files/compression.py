"""Decompression of kernel payloads: streaming, with limits, and errors of one kind.

A stream's end is found, so bytes behind it do no harm: the size that the kernel's build appends,
padding, a signature. Streams that follow each other are one, as for ``gzip -d`` or ``zstd -d``.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from kprobesim.image.files import lzop
from kprobesim.image.files.source import MAX_IMAGE_SIZE, Buffer, stream

__all__ = ["MAGICS", "CompressionError", "Packed", "compression_of", "decompress"]

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

_CHUNK = 1 << 18
_PIECE = 1 << 16  # of what is packed: a stream of a few bytes costs as much to read
#: More output than this from the bytes that went in is a bomb: kernels are packed 3 to 10 times.
_MOST_TIMES = 200
_FREE = 64 << 20
#: pbzip2 and bgzip make a stream of each 100 KB.
_MOST_STREAMS = 20_000
#: Block size of the LZ4 legacy format, and the largest that a packed block can be.
_LZ4_BLOCK = 8 << 20
_LZ4_BOUND = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16
_LZ4_MAGIC = b"\x02\x21\x4c\x18"
#: A kernel packed with zstd -22 --ultra needs a window of 128 MiB, with xz a dictionary of 128 MiB.
_ZSTD_WINDOW = 1 << 27
_XZ_MEMORY = 512 << 20
#: Blocks of zstd hold up to 128 KiB; no file has so many that they are worth walking.
_MOST_BLOCKS = 1 << 18


class CompressionError(Exception):
    """Compressed data that is cut short, damaged, too large or of a format that is not read."""


def compression_of(data: bytes) -> str | None:
    """The compression that starts with these first bytes."""
    return next((name for magic, name in MAGICS.items() if data.startswith(magic)), None)


class Packed:
    """What starts ``data`` in the format ``kind``, to be unpacked once, in chunks.

    ``end`` is where it ends in ``data``, once all chunks were taken.
    """

    def __init__(self, kind: str, data: Buffer) -> None:
        self.kind = kind
        self.data = data
        self.end = 0

    def chunks(self, limit: int) -> Iterator[bytes]:
        """At most ``limit`` bytes, unpacked; raises :class:`CompressionError`."""
        limit = min(limit, _FREE + _MOST_TIMES * len(self.data))
        size = 0
        try:
            for chunk in _FORMATS[self.kind](self):
                size += len(chunk)
                if size > limit:
                    raise CompressionError(f"unpacks to more than {limit} bytes")
                yield chunk
        except CompressionError:
            raise
        except _errors() as error:
            raise CompressionError(f"holds damaged {self.kind} data ({error})") from error

    def file(self, limit: int) -> IO[bytes]:
        """The same as a file; reading raises :class:`CompressionError`."""
        return io.BufferedReader(_ChunkFile(self.chunks(limit)), _CHUNK)


def decompress(packed: Packed, limit: int = MAX_IMAGE_SIZE) -> bytearray:
    """All of ``packed``.

    Raises :class:`CompressionError`, also when there would be more than ``limit`` bytes.
    """
    whole = bytearray()
    for chunk in packed.chunks(limit):
        whole += chunk
    return whole


class _ChunkFile(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        taken = self._rest[: len(target)]
        target[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def _errors() -> tuple[type[Exception], ...]:
    import lz4.block
    import zstandard

    ours = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError, lzop.LzopError)
    return (*ours, zstandard.ZstdError, lz4.block.LZ4BlockError)


def _streams(packed: Packed, magic: bytes | None, make: Callable[[], Any]) -> Iterator[bytes]:
    """What starts with ``magic``, and with ``None`` the first stream only, unpacked.

    ``make`` makes a decoder for each, of bz2 or lzma or one that works like theirs.
    """
    data, at = packed.data, 0
    for _ in range(_MOST_STREAMS):
        decoder = make()
        while not decoder.eof:
            piece = b""
            if decoder.needs_input:
                piece = bytes(data[at : at + _PIECE])
                at += len(piece)
                if not piece:
                    raise EOFError("it ends too early")
            yield decoder.decompress(piece, _CHUNK)
        packed.end = at = at - len(decoder.unused_data)
        if magic is None or data[at : at + len(magic)] != magic:
            return
    raise ValueError(f"more than {_MOST_STREAMS} streams")


class _Inflater:
    """zlib's decoder with the interface of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail or data, most)


def _gzip(packed: Packed) -> Iterator[bytes]:
    return _streams(packed, b"\x1f\x8b\x08", _Inflater)


def _bzip2(packed: Packed) -> Iterator[bytes]:
    return _streams(packed, b"BZh", bz2.BZ2Decompressor)


def _xz(packed: Packed) -> Iterator[bytes]:
    return _streams(
        packed, b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    )


def _lzma(packed: Packed) -> Iterator[bytes]:
    return _streams(
        packed, None, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY)
    )


def _zstd(packed: Packed) -> Iterator[bytes]:
    import zstandard

    data = packed.data
    at = 0
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    for _ in range(_MOST_STREAMS):
        magic = data[at : at + 4]
        if magic == b"\x28\xb5\x2f\xfd":
            end = _zstd_frame_end(data, at)
            with decoder.stream_reader(stream(data, at, end - at)) as reader:
                while chunk := reader.read(_CHUNK):
                    yield chunk
            packed.end = at = end
        elif magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5:  # a frame to be skipped
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        else:
            return
    raise ValueError(f"more than {_MOST_STREAMS} streams")


def _zstd_frame_end(data: Buffer, start: int) -> int:
    """Where the frame at ``start`` ends (RFC 8878, 3.1.1): its decoder does not tell."""
    import zstandard

    head = data[start : start + 18]
    at = start + zstandard.frame_header_size(head)
    for _ in range(_MOST_BLOCKS):
        block = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)  # RLE blocks have one byte
        if at > len(data):
            break
        if block & 1:
            return at + 4 * zstandard.get_frame_parameters(head).has_checksum
    raise EOFError("it ends too early")


def _lz4_legacy(packed: Packed) -> Iterator[bytes]:
    """A magic number, then blocks with their sizes in front; all but the last unpack to 8 MiB."""
    import lz4.block

    data, at = packed.data, 0
    for _ in range(_MOST_STREAMS):
        at += len(_LZ4_MAGIC)
        got = _LZ4_BLOCK
        while got == _LZ4_BLOCK:
            word = data[at : at + 4]
            size = int.from_bytes(word, "little")
            if len(word) < 4 or word == _LZ4_MAGIC or not 0 < size <= _LZ4_BOUND:
                break
            block = data[at + 4 : at + 4 + size]
            if len(block) < size:
                raise EOFError("it ends too early")
            chunk = lz4.block.decompress(block, uncompressed_size=_LZ4_BLOCK)
            got = len(chunk)
            at += 4 + size
            yield chunk
        packed.end = at
        if data[at : at + 4] != _LZ4_MAGIC:
            return
    raise ValueError(f"more than {_MOST_STREAMS} streams")


def _lzo(packed: Packed) -> Iterator[bytes]:
    file = lzop.LzopFile(packed.data)
    yield from file.blocks()
    packed.end = file.end


_FORMATS: dict[str, Callable[[Packed], Iterator[bytes]]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "LZMA": _lzma,
    "XZ": _xz,
    "zstd": _zstd,
    "LZ4": _lz4_legacy,
    "LZO": _lzo,
}
