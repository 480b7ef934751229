"""Debian packages: the kernel image is streamed out of ``data.tar`` without unpacking the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, NamedTuple

from kprobesim.errors import ImageError
from kprobesim.image.files.archive import STREAM_LIMIT, Members, kernel_from_tar, open_tar
from kprobesim.image.files.compression import Packed
from kprobesim.image.files.source import Buffer, Window, stream

__all__ = ["AR_MAGIC", "kernel_from_deb", "open_data_tar"]

AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60
#: A package has three members, a signed one four.
_MOST_AR_MEMBERS = 100
_CUT = "the package is cut short or damaged; download it again"
_CONTROL_LIMIT = 16 << 20
_ENDINGS = {".gz": "gzip", ".xz": "XZ", ".lzma": "LZMA", ".zst": "zstd", ".bz2": "bzip2"}


class _ArMember(NamedTuple):
    start: int
    size: int


def kernel_from_deb(
    path: Path, data: Buffer, progress: Callable[[str], None] | None = None
) -> Buffer:
    """The first kernel image in the package; ``ImageError`` when there is none."""
    there = _ar_members(path, data)
    name = _data_tar(path, there)
    kernel = kernel_from_tar(path, name, _open(data, name, there[name]), _CUT, progress)
    if kernel is None:
        raise ImageError(path, _no_kernel(path, data, there))
    return kernel


def open_data_tar(path: Path, data: Buffer) -> AbstractContextManager[Members]:
    """The files that the package installs; raises ``ImageError``."""
    there = _ar_members(path, data)
    name = _data_tar(path, there)
    return open_tar(path, name, _open(data, name, there[name]), _CUT)


def _data_tar(path: Path, there: dict[str, _ArMember]) -> str:
    name = next((name for name in there if name.startswith("data.tar")), None)
    if name is None:
        raise ImageError(path, f"is an ar archive without data.tar, no Debian package; {_CUT}")
    return name


def _ar_members(path: Path, data: Buffer) -> dict[str, _ArMember]:
    there: dict[str, _ArMember] = {}
    at = len(AR_MAGIC)
    while at + _AR_HEADER <= len(data) and len(there) < _MOST_AR_MEMBERS:
        header = bytes(data[at : at + _AR_HEADER])
        text = header[48:58].strip()
        if header[58:] != b"`\n" or not text.isdigit():
            raise ImageError(path, f"has a damaged ar header at byte {at}; {_CUT}")
        start, size = at + _AR_HEADER, int(text)
        if start + size > len(data):
            raise ImageError(
                path, f"ends at byte {len(data)}, in the middle of a member of {size}; {_CUT}"
            )
        there.setdefault(header[:16].decode("latin-1").rstrip(" /"), _ArMember(start, size))
        at = start + size + (size & 1)
    return there


def _open(data: Buffer, name: str, member: _ArMember, limit: int = STREAM_LIMIT) -> IO[bytes]:
    """The archive ``name`` as a file, unpacked."""
    kind = next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)
    if kind is None:
        return stream(data, *member)
    # Packed, it has 1.4 GB in the largest -dbg package, so it is not read at once.
    return Packed(kind, Window(data, *member)).file(limit)


def _no_kernel(path: Path, data: Buffer, there: dict[str, _ArMember]) -> str:
    """What to do with a package that has none: packages that it depends on may have it."""
    text = _control(path, data, there)
    package = re.search(r"^Package: *(\S+)", text, re.M)
    depends = re.findall(r"^(?:Pre-)?Depends: *(.+)", text, re.M)
    kernels = re.findall(r"linux-(?:image|binary)-[^\s,|()]+", " ".join(depends))
    what = f"({package[1][:200]}) " if package else ""
    hint = (
        f"it depends on {', '.join(dict.fromkeys(kernels[:8]))}, get that one"
        if kernels
        else "get a linux-image package, or its -dbg package for all symbols"
    )
    return f"is a Debian package {what}without a kernel; {hint}"


def _control(path: Path, data: Buffer, there: dict[str, _ArMember]) -> str:
    """What the package says of itself."""
    name = next((name for name in there if name.startswith("control.tar")), None)
    if name is None:
        return ""
    with open_tar(path, name, _open(data, name, there[name], _CONTROL_LIMIT), _CUT) as members:
        for tar, member in members:
            source = tar.extractfile(member) if member.isfile() else None
            if source and member.name.rpartition("/")[2] == "control":
                return source.read(1 << 20).decode("utf-8", "replace")
    return ""
