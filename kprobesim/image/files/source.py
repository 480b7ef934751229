"""Where an image's bytes come from: a file that is read in pieces, or bytes unpacked in memory.

Files are read, never mapped: a file that is cut short while it is mapped kills the process that
looks at it (SIGBUS). Only what is asked for is read, so of a vmlinux of 590 MB, nine tenths of
which are debug information, a load copies the 60 MB that the kernel consists of.
"""

from __future__ import annotations

import io
import os
import stat
import weakref
from pathlib import Path
from typing import IO

from kprobesim.errors import ImageError

__all__ = [
    "GIB",
    "MAX_IMAGE_SIZE",
    "Buffer",
    "FileBytes",
    "Window",
    "check_size",
    "open_file",
    "part",
    "read_file",
    "spool",
    "stream",
]

GIB = 1 << 30

#: Nothing unpacks to more, and no image occupies more of the guest: real kernels take 20-70 MiB.
MAX_IMAGE_SIZE = GIB

_CHUNK = 1 << 18
_IMAGE = "a kernel image (vmlinux, vmlinuz, Image, .deb)"


class FileBytes:
    """The bytes of an open file by slices, each read when it is asked for.

    A slice is as long as it would be of ``bytes``, or there is an ``ImageError``: the file has
    become shorter since it was opened. ``path`` names the file in errors; ``fd`` is closed with
    the last reference to this object.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._size = os.fstat(fd).st_size
        weakref.finalize(self, os.close, fd)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, where: slice) -> bytes:
        start, stop, _ = where.indices(self._size)
        return self._read(start, max(stop - start, 0))

    def __bytes__(self) -> bytes:
        return self._read(0, self._size)

    def identity(self) -> tuple[int, ...]:
        """Which file it is, and when it was last written to."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _read(self, start: int, size: int) -> bytes:
        parts = []
        try:
            while size and (part := os.pread(self._fd, min(size, GIB), start)):
                parts.append(part)
                start += len(part)
                size -= len(part)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        if size:
            raise ImageError(
                self._path,
                f"has become shorter than the {self._size} bytes that it had; load it again when "
                "nobody writes to it",
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Window:
    """``size`` bytes of ``data`` from ``start`` on, by slices, without a copy of all."""

    def __init__(self, data: Buffer, start: int, size: int) -> None:
        self._data = data
        self._start = start
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, where: slice) -> bytes:
        start, stop, _ = where.indices(self._size)
        return bytes(self._data[self._start + start : self._start + max(start, stop)])

    def __bytes__(self) -> bytes:
        return self[:]


#: What slices to ``bytes`` and has a length.
Buffer = bytes | bytearray | FileBytes | Window


class _Stream(io.RawIOBase):
    """A part of a buffer as a file."""

    def __init__(self, data: Buffer, start: int, size: int) -> None:
        self._data = data
        self._start = self._at = start
        self._end = start + size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = max(base + offset, self._start)
        return self._at - self._start

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        piece = self._data[self._at : min(self._at + len(target), self._end)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def part(data: Buffer, start: int, stop: int) -> memoryview:
    """``data[start:stop]``, without a copy if the bytes are in memory."""
    if isinstance(data, (bytes, bytearray)):
        return memoryview(data)[start:stop].toreadonly()
    return memoryview(data[start:stop])


def stream(data: Buffer, start: int = 0, size: int | None = None) -> IO[bytes]:
    """``data`` as a file, or ``size`` bytes of it from ``start`` on."""
    size = len(data) - start if size is None else size
    return io.BufferedReader(_Stream(data, start, size), _CHUNK)


def open_file(path: Path, what: str = _IMAGE) -> Buffer:
    """The bytes of the regular file ``path``, in which ``what`` should be.

    Raises:
        ImageError: It cannot be read, is empty, or is no file but something that may have no end.
    """
    try:
        # Opening can have effects (a FIFO waits for its writer, a tape winds), so look before; and
        # once more, at what was opened in fact.
        _check_regular(path, path.stat(), what)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # a NUL in the path
        raise ImageError(path, f"is no path: {error}") from error
    try:
        _check_regular(path, os.fstat(fd), what)
        data = FileBytes(path, fd)
    except BaseException:
        os.close(fd)
        raise
    # Files of /proc say 0 and have contents.
    return data if len(data) else _read_to_the_end(path, fd, data, what)


def read_file(path: Path, limit: int, what: str) -> bytes:
    """All bytes of the regular file ``path``, at most ``limit``, in which ``what`` should be.

    Raises:
        ImageError: As :func:`open_file`; or it is larger than any ``what``.
    """
    data = open_file(path, what)
    check_size(path, data, limit, what)
    return bytes(data)


def check_size(path: Path, data: Buffer, limit: int, what: str) -> None:
    """Raise ``ImageError`` if ``data`` is larger than any ``what``."""
    if len(data) > limit:
        raise ImageError(
            path,
            f"has {len(data)} bytes, and {what} has at most {limit >> 20} MiB; name the right file",
        )


def spool(path: Path, source: IO[bytes], size: int) -> FileBytes | None:
    """``size`` bytes of ``source`` in a nameless temporary file; ``None`` if it ends before.

    ``path`` is the file that they are from. Raises ``ImageError`` if there is no room for them.
    """
    left = size
    with _temporary_file(path, size) as file:
        while left and (chunk := source.read(min(left, _CHUNK))):
            try:
                file.write(chunk)
            except OSError as error:
                raise _no_room(path, size, error) from error
            left -= len(chunk)
        return None if left else FileBytes(path, os.dup(file.fileno()))


def _temporary_file(path: Path, size: int) -> IO[bytes]:
    import tempfile  # it takes long to import, and few images need one

    try:
        return tempfile.TemporaryFile(prefix="kprobesim-", buffering=0)
    except OSError as error:
        raise _no_room(path, size, error) from error


def _no_room(path: Path, size: int, error: OSError) -> ImageError:
    return ImageError(
        path,
        f"cannot be unpacked: {error.strerror or error}; make room for {size >> 20} MiB where "
        "temporary files are, or set TMPDIR",
    )


def _check_regular(path: Path, status: os.stat_result, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ImageError(path, f"is {kind}; name {what}")


def _read_to_the_end(path: Path, fd: int, keep: FileBytes, what: str) -> bytes:
    """What a file that does not tell its size has; ``keep`` holds ``fd`` open."""
    parts: list[bytes] = []
    size = 0
    try:
        while part := os.read(fd, _CHUNK):
            parts.append(part)
            size += len(part)
            if size > _ENDLESS:
                raise ImageError(path, f"has no end within {_ENDLESS >> 20} MiB; name {what}")
    except OSError as error:
        raise _unreadable(path, error) from error
    del keep
    if not size:
        raise ImageError(path, f"is empty; name {what}")
    return b"".join(parts)


#: More than any file of /proc that is of use here: kallsyms has 20 MiB.
_ENDLESS = 256 << 20


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(
        path, f"cannot be read: {error.strerror or error}; check the path and its permissions"
    )
