"""Tar archives as streams of members: what is in a package, or in a tar of one.

tarfile reads headers of any length into memory, and goes on for as long as the stream does. So the
stream is metered: between two members it gives what the first one still has, and room for the
headers of a member, but no more.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kprobesim.errors import ImageError
from kprobesim.image.files.compression import CompressionError
from kprobesim.image.files.source import GIB, Buffer, spool

__all__ = ["STREAM_LIMIT", "Members", "is_tar", "kernel_from_tar", "open_tar"]

#: The largest -dbg package unpacks to 7 GiB.
STREAM_LIMIT = 16 * GIB
#: linux-image has 8,000 files.
_MOST_MEMBERS = 1 << 16
#: Headers of one member: its own, its long names, its pax records.
_HEADERS = 1 << 20
_BLOCK = 512
_CHUNK = 1 << 18

#: vmlinuz in linux-image packages (since 6.19 in linux-binary ones), vmlinux in -dbg packages.
_KERNEL = re.compile(r"(?:.*/)?(?:vmlinu[xz]|b?zImage|Image)(?:-[^/]*)?")
_STARTS = (
    b"\x7fELF",
    b"MZ",
    b"\x1f\x8b",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"BZh",
    b"\x02\x21\x4c",
    b"\x89LZO",
)
#: Small members stay in memory, large ones (a vmlinux with debug data) go to a file.
_IN_MEMORY = 64 << 20
_MEMBER_LIMIT = 4 * GIB


Members = Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]


def is_tar(head: bytes) -> bool:
    """Whether the first 512 bytes ``head`` are the header of an archive's first member."""
    return head[257:262] == b"ustar"


class _Metered(io.RawIOBase):
    """A stream that gives its bytes up to ``limit`` and refuses to go on."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._at = 0
        self.limit = _HEADERS

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._at += len(data)
        if self._at > self.limit:
            raise EOFError(
                "it unpacks to far more than any kernel package"
                if self.limit >= STREAM_LIMIT
                else "a header of it is larger than any"
            )
        return data


@contextmanager
def open_tar(path: Path, name: str, file: IO[bytes], again: str) -> Iterator[Members]:
    """The members of the archive ``name`` in ``path``; each must be read before the next is taken.

    Raises:
        ImageError: The archive is damaged, or no package can be so large; ``again`` says what to
            do then.
    """
    metered = _Metered(file)
    try:
        with tarfile.open(fileobj=metered, mode="r|", bufsize=_CHUNK) as tar:
            yield _members(tar, metered)
    except (
        tarfile.TarError, CompressionError, EOFError, OSError, ValueError, RecursionError,
    ) as error:  # fmt: skip
        raise ImageError(path, f"its {name} cannot be read ({error}); {again}") from error


def _members(tar: tarfile.TarFile, metered: _Metered) -> Members:
    for _ in range(_MOST_MEMBERS):
        member = tar.next()
        if member is None:
            return
        size = member.size if member.isreg() else 0
        if member.offset_data + size > STREAM_LIMIT:
            raise EOFError(f"its {member.name[:200]} would unpack to {size} bytes")
        metered.limit = STREAM_LIMIT
        yield tar, member
        metered.limit = member.offset_data + size + _HEADERS + _CHUNK
    raise EOFError(f"it has more than {_MOST_MEMBERS} files")


def kernel_from_tar(
    path: Path, name: str, file: IO[bytes], again: str, progress: Callable[[str], None] | None
) -> Buffer | None:
    """The first kernel image in the archive ``name``; ``None`` when there is none."""
    if progress is not None:
        progress("looking for the kernel in the package")
    with open_tar(path, name, file, again) as members:
        for tar, member in members:
            if not member.isfile() or not _KERNEL.fullmatch(member.name):
                continue
            if member.size > _MEMBER_LIMIT:
                raise ImageError(path, f"its {member.name[:200]} has {member.size} bytes; {again}")
            source = tar.extractfile(member)
            assert source is not None  # regular files have contents
            head = source.read(8)
            if not head.startswith(_STARTS):
                continue
            if progress is not None:
                progress(f"extracting {member.name.removeprefix('./')} ({member.size >> 20} MiB)")
            return _contents(path, member, head, source, again)
    return None


def _contents(
    path: Path, member: tarfile.TarInfo, head: bytes, source: IO[bytes], again: str
) -> Buffer:
    """All of ``member``, of which ``head`` was read from ``source`` already."""
    whole: Buffer | None
    if member.size <= _IN_MEMORY:
        whole = head + source.read(member.size - len(head))
    else:
        joined = io.BufferedReader(_After(head, source), _CHUNK)
        whole = spool(path, joined, member.size)
    if whole is None or len(whole) != member.size:
        raise ImageError(path, f"ends in the middle of {member.name[:200]}; {again}")
    return whole


class _After(io.RawIOBase):
    """``head``, and then the file ``rest``."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        piece = self._head or self._rest.read(len(target))
        self._head = b""
        target[: len(piece)] = piece
        return len(piece)
