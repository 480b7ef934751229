"""The bytes of a source: bounded, and as text whatever wrote them."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from pathlib import Path

__all__ = [
    "MAX_LINE",
    "MAX_SCRIPT",
    "MAX_SIZE",
    "SourceError",
    "decode",
    "is_stream",
    "printable",
    "read_bytes",
]

#: Scripts and lists have kilobytes, compiled objects a few megabytes.
MAX_SIZE = 32 << 20

#: Scripts and policies are written by hand; lists may come from programs.
MAX_SCRIPT = 4 << 20

#: Nobody writes longer lines; a file without line ends is no list.
MAX_LINE = 1 << 16

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OURS = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")  # a pipe that the shell has opened for us


class SourceError(Exception):
    """A source that cannot be read at all. ``path`` is the file, ``problem`` what is wrong."""

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        self.path = os.fspath(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}")


def is_stream(path: Path) -> bool:
    """Whether it can be read only once."""
    return str(path) == "-" or str(path).startswith(_OURS)


def read_bytes(path: Path, most: int = MAX_SIZE + 1) -> bytes:
    """The bytes of a file, of standard input (``-``), or of a pipe of the shell's (``<(...)``).

    Args:
        path: The file.
        most: No more of it are read.

    Raises:
        SourceError: It is not there, may not be read, is no file, or has more than ``MAX_SIZE``
            bytes, of which no more are read.
    """
    try:
        if str(path) == "-":
            return _bounded(path, sys.stdin.fileno(), most)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            kind = os.fstat(descriptor).st_mode
            if stat.S_ISFIFO(kind) and str(path).startswith(_OURS):
                os.set_blocking(descriptor, True)
            elif not stat.S_ISREG(kind):
                raise SourceError(path, "is neither a file nor a folder: name one of these")
            return _bounded(path, descriptor, most)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, no standard input
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(path, f"cannot be read: {words}") from error


def _bounded(path: Path, descriptor: int, most: int) -> bytes:
    parts, left = [], most
    while left and (part := os.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if most - left > MAX_SIZE:
        raise SourceError(
            path, f"has more than {MAX_SIZE >> 20} MiB, which no source of probes has: name another"
        )
    return b"".join(parts)


def decode(path: Path, data: bytes) -> str:
    """Text from UTF-8 or, with a byte order mark, UTF-16; other bytes are what Latin-1 says.

    Lines end with a newline, whatever stood there.

    Raises:
        SourceError: It is no text: it holds NULs.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, errors="replace")
            break
    else:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("latin-1")  # what is read there is ASCII; comments may be anything
    if "\0" in text:
        raise SourceError(path, "is binary, and no eBPF object (an ELF file): name another")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def printable(text: str) -> str:
    r"""``text`` with escapes for what a terminal would obey or could not show: ``\x1b[31m``."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
