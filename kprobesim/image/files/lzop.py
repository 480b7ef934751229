"""Files of lzop, which CONFIG_KERNEL_LZO packs kernels with.

lzop has no description but its source; the header and the blocks are read here as the kernel's
lib/decompress_unlzo.c (6.12) reads them, and their checksums compared. The blocks themselves are
unpacked by lzallright.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from kprobesim.image.files.source import Buffer

__all__ = ["LzopError", "LzopFile"]

_MAGIC = b"\x89LZO\0\r\n\x1a\n"
_HAS_EXTRA, _HAS_FILTER, _CRC_HEADER = 0x40, 0x800, 0x1000
#: Checksums of a block, in this order: of what it unpacks to, then of its packed bytes.
_Check = Callable[[bytes], int]
_UNPACKED: tuple[tuple[int, _Check], ...] = ((1, zlib.adler32), (0x100, zlib.crc32))
_PACKED: tuple[tuple[int, _Check], ...] = ((2, zlib.adler32), (0x200, zlib.crc32))
_BLOCK = 256 << 10
_MOST_BLOCKS = 1 << 16
_SHORTEST_NEW = 0x940  # the version of lzop since which headers have all fields


class LzopError(Exception):
    """No file of lzop, or a damaged one."""


class LzopFile:
    """The file that starts ``data``; ``end`` is where it ends, once all blocks were taken."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._at = 0
        self.end = 0

    def blocks(self) -> Iterator[bytes]:
        """What it unpacks to; raises :class:`LzopError`."""
        from lzallright import LZOCompressor, LZOError

        flags = self._header()
        unpack = LZOCompressor.decompress
        for _ in range(_MOST_BLOCKS):
            size = self._number(4)
            if not size:
                self.end = self._at
                return
            packed_size = self._number(4)
            if not 0 < packed_size <= size <= _BLOCK:
                raise LzopError(f"a block of {packed_size} bytes that unpack to {size}")
            wanted = [(check, self._number(4)) for flag, check in _UNPACKED if flags & flag]
            if packed_size < size:
                stored = [(check, self._number(4)) for flag, check in _PACKED if flags & flag]
            else:
                stored = wanted
            block = self._take(packed_size)
            _compare(block, stored)
            if packed_size < size:
                try:
                    block = unpack(block, size)
                except LZOError as error:
                    raise LzopError(str(error)) from error
                if len(block) != size:
                    raise LzopError(f"a block of {len(block)} bytes instead of {size}")
                _compare(block, wanted)
            yield block
        raise LzopError(f"more than {_MOST_BLOCKS} blocks")

    def _header(self) -> int:
        """Pass over the header; its flags."""
        if self._take(len(_MAGIC)) != _MAGIC:
            raise LzopError("it does not start as lzop's files do")
        start = self._at
        version = self._number(2)
        is_new = version >= _SHORTEST_NEW
        self._take(4 if is_new else 2)  # versions of the library and of the format
        method = self._number(1)
        if not 1 <= method <= 3:
            raise LzopError(f"it is packed by method {method}")
        self._take(1 if is_new else 0)  # the level
        flags = self._number(4)
        if flags & _HAS_FILTER:
            raise LzopError("it is filtered, too")
        self._take(12 if is_new else 8)  # mode and time of the file
        self._take(self._number(1))  # its name
        header = self._data[start : self._at]
        check = zlib.crc32 if flags & _CRC_HEADER else zlib.adler32
        if self._number(4) != check(header):
            raise LzopError("the checksum of its header is wrong")
        if flags & _HAS_EXTRA:
            self._take(self._number(4) + 4)
        return flags

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[self._at : self._at + size])
        if len(taken) < size:
            raise LzopError("it ends too early")
        self._at += size
        return taken


def _compare(block: bytes, sums: list[tuple[_Check, int]]) -> None:
    for check, wanted in sums:
        if check(block) != wanted:
            raise LzopError("the checksum of a block is wrong")
