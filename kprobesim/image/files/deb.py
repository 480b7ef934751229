"""Debian packages: the kernel image is streamed out of ``data.tar`` without unpacking the rest."""

from __future__ import annotations

import io
import lzma
import mmap
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from kprobesim.errors import ImageError
from kprobesim.image.files.source import GIB, Buffer

__all__ = ["AR_MAGIC", "data_tar", "kernel_from_deb"]

AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60
_CUT = "the package is cut short or damaged; download it again"
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
)
#: Small members stay in memory, large ones (a vmlinux with debug data) go to a file.
_IN_MEMORY = 64 << 20
_MEMBER_LIMIT = 4 * GIB
_STREAM_LIMIT = 32 * GIB
_CONTROL_LIMIT = 16 << 20


class _Window(io.RawIOBase):
    """A part of a buffer as a file, without a copy of it."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)


class _Limited(io.RawIOBase):
    """A stream that refuses to go on for ever."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise EOFError("it unpacks to far more than any kernel package")
        return data


def kernel_from_deb(
    path: Path, data: Buffer, progress: Callable[[str], None] | None = None
) -> Buffer:
    """The first kernel image in the package; ``ImageError`` when there is none."""
    if progress is not None:
        progress("looking for the kernel in the package")
    with data_tar(path, data) as tar:
        for member in tar:
            if not member.isfile() or not _KERNEL.fullmatch(member.name):
                continue
            if member.size > _MEMBER_LIMIT:
                raise ImageError(path, f"its {member.name} has {member.size} bytes; {_CUT}")
            source = tar.extractfile(member)
            assert source is not None  # regular files have contents
            head = source.read(8)
            if not head.startswith(_STARTS):
                continue
            if progress is not None:
                progress(f"extracting {member.name.removeprefix('./')} ({member.size >> 20} MiB)")
            return _contents(path, member, head, source)
    raise ImageError(path, _no_kernel(path, dict(_ar_members(path, data))))


@contextmanager
def data_tar(path: Path, data: Buffer) -> Iterator[tarfile.TarFile]:
    """The files that the package installs, as a stream of members; raises ``ImageError``."""
    members = dict(_ar_members(path, data))
    name = next((name for name in members if name.startswith("data.tar")), None)
    if name is None:
        raise ImageError(path, f"is an ar archive without data.tar, no Debian package; {_CUT}")
    with _tar(path, name, members[name], _STREAM_LIMIT) as tar:
        yield tar


def _contents(path: Path, member: tarfile.TarInfo, head: bytes, source: IO[bytes]) -> Buffer:
    rest = member.size - len(head)
    if member.size <= _IN_MEMORY:
        whole = head + source.read(rest)
        if len(whole) != member.size:
            raise ImageError(path, f"ends in the middle of {member.name}; {_CUT}")
        return whole
    with tempfile.TemporaryFile(prefix="kprobesim-") as file:
        file.write(head)
        while rest > 0 and (chunk := source.read(min(rest, 1 << 20))):
            file.write(chunk)
            rest -= len(chunk)
        if rest:
            raise ImageError(path, f"ends in the middle of {member.name}; {_CUT}")
        file.flush()
        # The map keeps the contents after the (already nameless) file is closed.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _ar_members(path: Path, data: Buffer) -> Iterator[tuple[str, memoryview]]:
    view = memoryview(data)
    at = len(AR_MAGIC)
    while at + _AR_HEADER <= len(data):
        header = bytes(data[at : at + _AR_HEADER])
        text = header[48:58].strip()
        if header[58:] != b"`\n" or not text.isdigit():
            raise ImageError(path, f"has a damaged ar header at byte {at}; {_CUT}")
        start, size = at + _AR_HEADER, int(text)
        if start + size > len(data):
            raise ImageError(
                path, f"ends at byte {len(data)}, in the middle of a member of {size}; {_CUT}"
            )
        yield header[:16].decode("latin-1").rstrip(" /"), view[start : start + size]
        at = start + size + (size & 1)


@contextmanager
def _tar(path: Path, name: str, data: memoryview, limit: int) -> Iterator[tarfile.TarFile]:
    """The archive ``name`` as a stream of members; what goes wrong inside is an ``ImageError``."""
    try:
        file = io.BufferedReader(_Window(data), 1 << 18)
        stream: IO[bytes]
        if name.endswith(".zst"):
            decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            stream = cast(IO[bytes], decoder.stream_reader(file, read_across_frames=True))
            mode = "r|"
        elif name.endswith((".xz", ".lzma")):
            stream, mode = cast(IO[bytes], lzma.LZMAFile(file)), "r|"  # noqa: SIM115
        else:
            stream, mode = file, "r|*"
        if mode == "r|":
            stream = cast(IO[bytes], _Limited(stream, limit))
        with tarfile.open(fileobj=stream, mode=mode, bufsize=1 << 18) as tar:  # type: ignore[call-overload]
            yield tar
    except (
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        zstandard.ZstdError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise ImageError(path, f"its {name} cannot be read ({error}); {_CUT}") from error


def _no_kernel(path: Path, members: dict[str, memoryview]) -> str:
    """What to do with a package that has none: packages that it depends on may have it."""
    name = next((name for name in members if name.startswith("control.tar")), None)
    text = ""
    if name is not None:
        with _tar(path, name, members[name], _CONTROL_LIMIT) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isfile() else None
                if source and member.name.rpartition("/")[2] == "control":
                    text = source.read(1 << 20).decode("utf-8", "replace")
                    break
    package = re.search(r"^Package: *(\S+)", text, re.M)
    depends = re.findall(r"^(?:Pre-)?Depends: *(.+)", text, re.M)
    kernels = re.findall(r"linux-(?:image|binary)-[^\s,|()]+", " ".join(depends))
    what = f"({package[1]}) " if package else ""
    hint = (
        f"it depends on {', '.join(dict.fromkeys(kernels))}, get that one"
        if kernels
        else "get a linux-image package, or its -dbg package for all symbols"
    )
    return f"is a Debian package {what}without a kernel; {hint}"
