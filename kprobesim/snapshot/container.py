"""One file of named sections that is either whole or refused.

    0   8 bytes  magic
    8   u32      version of the format
    12  u32      0
    16  u64      size of the file
    24  u64      size of the directory
    32  32 bytes SHA-256 of everything else
    64           the directory: JSON with "facts" and "sections", a list of [name, size]
                 the sections, in that order, up to the end

Numbers are little-endian. The checksum is compared before anything is looked at: it tells damage,
not malice. The file is read at once, so that nobody can change it between checking and using it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kprobesim.errors import SnapshotError

__all__ = ["VERSION", "Container", "is_snapshot", "read_container", "write_container"]

VERSION = 2
"""What is written."""
_READABLE = (1, 2)

_MAGIC = b"\x89KPS\r\n\x1a\n"  # as PNG's: a transfer as text, or with 7 bits, shows at once
_HEAD = struct.Struct("<8sI4xQQ")
_DIGEST = hashlib.sha256
_START = _HEAD.size + _DIGEST().digest_size
#: A guest of 3 GiB whose memory cannot be packed.
_LARGEST = 4 << 30
_LARGEST_DIRECTORY = 16 << 20
_AT_ONCE = 256 << 20
_CHUNK = 1 << 20
_AGAIN = "copy it again, or take the snapshot again"


@dataclass(frozen=True)
class Container:
    """A file that was read: ``facts`` are plain data, ``sections`` bytes by name."""

    path: Path
    facts: dict[str, Any]
    sections: Mapping[str, memoryview]

    @property
    def size(self) -> int:
        """Bytes of all sections."""
        return sum(map(len, self.sections.values()))

    def section(self, name: str) -> memoryview:
        """A section's bytes; raises :class:`SnapshotError`."""
        if name not in self.sections:
            raise self.damaged(f"it has no section {name!r}")
        return self.sections[name]

    def damaged(self, why: str) -> SnapshotError:
        """The error to raise for content that makes no sense."""
        return SnapshotError(self.path, f"is no sound snapshot: {why}; {_AGAIN}")


def is_snapshot(path: str | os.PathLike[str]) -> bool:
    """Whether the file starts as a snapshot does; false as well where nothing can be read."""
    try:
        with _open_regular(Path(path)) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (SnapshotError, OSError, ValueError, TypeError):
        return False


def read_container(path: str | os.PathLike[str]) -> Container:
    """Read and check the snapshot ``path``; raises :class:`SnapshotError`."""
    try:
        path = Path(path)
        with _open_regular(path) as file:
            head, body = _read_whole(path, file)
    except OSError as error:
        raise SnapshotError(
            path, f"cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error
    except (TypeError, ValueError) as error:  # no path, or one with a NUL
        raise SnapshotError(str(path), f"is no path: {error}") from error
    return _parse(path, head, body)


def _open_regular(path: Path) -> BinaryIO:
    """Open the file ``path``; what may have no end is not opened, or not read."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    if not stat.S_ISREG(path.stat().st_mode):  # opening a device can have effects
        raise SnapshotError(path, "is not a regular file; name a snapshot")
    file = open(path, "rb", opener=opener)  # noqa: SIM115 (Path.open has no opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise SnapshotError(path, "is not a regular file; name a snapshot")
    return file


def _read_whole(path: Path, file: BinaryIO) -> tuple[bytes, bytes]:
    """The header and what follows it, with the right checksum."""
    head = file.read(_START)
    if head[: len(_MAGIC)] != _MAGIC:
        raise SnapshotError(
            path, "is no snapshot of kprobesim; name a file that `boot --snapshot` has written"
        )
    if len(head) < _START:
        raise SnapshotError(path, f"is cut short after {len(head)} bytes; {_AGAIN}")
    _, version, size, _ = _HEAD.unpack_from(head)
    if version not in _READABLE:
        raise SnapshotError(
            path,
            f"has format {version}, and this kprobesim reads formats up to {VERSION}; "
            "read it with the kprobesim that wrote it, or take the snapshot again",
        )
    there = os.fstat(file.fileno()).st_size
    if there != size:
        what = "is cut short" if there < size else "is damaged"
        raise SnapshotError(path, f"{what}: it has {there} bytes and should have {size}; {_AGAIN}")
    if size > _LARGEST:
        raise SnapshotError(path, f"is damaged: no snapshot has {size} bytes; {_AGAIN}")
    wanted, digest = head[_HEAD.size :], _DIGEST(head[: _HEAD.size])
    if size > _AT_ONCE:  # a sparse file would fill the memory before its checksum is wrong
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        _compare(path, digest.digest(), wanted)
        file.seek(_START)
        digest = _DIGEST(head[: _HEAD.size])
    body = file.read(size)
    digest.update(body)
    _compare(path, digest.digest(), wanted)
    return head, body


def _compare(path: Path, digest: bytes, wanted: bytes) -> None:
    if digest != wanted:
        raise SnapshotError(path, f"is damaged: its checksum is wrong; {_AGAIN}")


def _parse(path: Path, head: bytes, body: bytes) -> Container:
    found = Container(path, {}, {})
    at = _HEAD.unpack_from(head)[3]
    if at > min(len(body), _LARGEST_DIRECTORY):
        raise found.damaged("its directory is longer than the file")
    view = memoryview(body)
    sections = {}
    try:
        directory = json.loads(body[:at])
        facts = directory["facts"]
        for name, size in directory["sections"]:
            if type(size) is not int or not 0 <= size <= len(body) - at or name in sections:
                raise found.damaged(f"its section {name!r} cannot be")
            sections[name] = view[at : at + size]
            at += size
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise found.damaged(f"its directory cannot be read ({error!r})") from error
    if not isinstance(facts, dict) or at != len(body):
        raise found.damaged("its directory says otherwise than its content")
    return Container(path, facts, sections)


def write_container(
    path: str | os.PathLike[str],
    facts: Mapping[str, Any],
    sections: Mapping[str, bytes],
    *,
    durable: bool = True,
) -> None:
    """Write the snapshot ``path``: it is there whole or not at all.

    Args:
        path: The file; one that is there is replaced.
        facts: Plain data.
        sections: Bytes by name.
        durable: Wait until it would survive a power failure.

    Raises:
        SnapshotError: It cannot be written.
    """
    directory = json.dumps(
        {"facts": facts, "sections": [[name, len(data)] for name, data in sections.items()]}
    ).encode()
    body = b"".join([directory, *sections.values()])
    if _START + len(body) > _LARGEST:
        raise SnapshotError(
            str(path), f"would have {len(body)} bytes: no snapshot may; take less memory"
        )
    head = _HEAD.pack(_MAGIC, VERSION, _START + len(body), len(directory))
    try:
        path = Path(path)
        if path.exists() and not path.is_file():
            raise SnapshotError(path, "is no regular file, so no snapshot is written over it")
        digest = _DIGEST(head)
        digest.update(body)
        _replace(path, [head, digest.digest(), body], durable)
    except OSError as error:
        raise SnapshotError(
            path,
            f"cannot be written: {error.strerror or error}; is there a directory of that name, "
            "with room and permission to write?",
        ) from error
    except (TypeError, ValueError) as error:
        raise SnapshotError(str(path), f"is no path: {error}") from error


def _replace(path: Path, parts: list[bytes], durable: bool) -> None:
    """Write a new file beside ``path`` and give it that name when it is complete."""
    import secrets  # who only reads needs none

    new = path.with_name(f".{secrets.token_hex(8)}.kps")
    try:
        with new.open("xb") as file:
            file.writelines(parts)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
