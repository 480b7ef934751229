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
Who has compared the checksum of this very file before (:class:`Identity`) may say so, and its
sections are then read when they are asked for, while it stays the same file.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from kprobesim.errors import SnapshotError
from kprobesim.late_dataclasses import dataclass

__all__ = [
    "VERSION",
    "Container",
    "Identity",
    "is_snapshot",
    "read_container",
    "read_known",
    "write_container",
]

VERSION = 2
"""What is written."""
_READABLE = (1, 2)

_MAGIC = b"\x89KPS\r\n\x1a\n"  # as PNG's: a transfer as text, or with 7 bits, shows at once
_HEAD = struct.Struct("<8sI4xQQ")
_START = _HEAD.size + 32
#: A guest of 3 GiB whose memory cannot be packed.
_LARGEST = 4 << 30
_LARGEST_DIRECTORY = 16 << 20
_AT_ONCE = 256 << 20
_CHUNK = 1 << 20
_FRESH = 2_000_000_000
_AGAIN = "copy it again, or take the snapshot again"


class Identity(NamedTuple):
    """Which file it is, and when it was last touched: no other content has the same."""

    device: int
    inode: int
    size: int
    written: int
    changed: int

    @classmethod
    def of(cls, descriptor: int) -> Identity:
        """That of an open file."""
        return cls.of_status(os.fstat(descriptor))

    @classmethod
    def of_status(cls, found: os.stat_result) -> Identity:
        """That of a file of which the system says so."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def is_settled(self, now: int) -> bool:
        """Whether a change after ``now``, in nanoseconds, gives the file another time in any case.

        One that was written a moment ago may be written to again without getting another.
        """
        return now - max(self.written, self.changed) > _FRESH


Known = Callable[[bytes, Identity], bool]
"""Whether the file of this identity was found to have this SHA-256."""


@dataclass(frozen=True)
class Container:
    """A file that was read: ``facts`` are plain data, ``sections`` bytes by name.

    ``digest`` is its SHA-256, ``identity`` the file that it was read from.
    """

    path: Path
    facts: dict[str, Any]
    sections: Mapping[str, memoryview]
    digest: bytes = b""
    identity: Identity | None = None

    def section(self, name: str) -> memoryview:
        """A section's bytes; raises :class:`SnapshotError`."""
        if name not in self.sections:
            raise self.damaged(f"it has no section {name!r}")
        return self.sections[name]

    def frames(self, name: str) -> memoryview | Slices:
        """A section's bytes, which may be read when they are asked for; raises SnapshotError."""
        if isinstance(self.sections, _Unread) and name in self.sections:
            return Slices(self.sections, name)
        return self.section(name)

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
            head = _read_head(path, file)
            identity = Identity.of(file.fileno())
            body = memoryview(_read_body(path, file, head))
    except OSError as error:
        raise SnapshotError(
            path, f"cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error
    except (TypeError, ValueError) as error:  # no path, or one with a NUL
        raise SnapshotError(str(path), f"is no path: {error}") from error
    facts, places = _parse(path, head, body)
    sections = {name: body[start:end] for name, (start, end) in places.items()}
    return Container(path, facts, sections, head[_HEAD.size :], identity)


def read_known(path: str | os.PathLike[str], known: Known) -> Container | None:
    """The snapshot ``path``, if it need not be checked again; else ``None``, also for any error.

    Its sections are read when they are asked for, which raises :class:`SnapshotError` once it has
    been written to.
    """
    try:
        path = Path(path)
        with _open_regular(path) as file:
            head = _read_head(path, file)
            digest, identity = head[_HEAD.size :], Identity.of(file.fileno())
            if not known(digest, identity):
                return None
            unread = _Unread(path, os.dup(file.fileno()), identity)
        directory = unread.read(0, min(_HEAD.unpack_from(head)[3], identity.size - _START))
        facts, unread.places = _parse(path, head, directory)
    except (SnapshotError, OSError, TypeError, ValueError):  # who reads all of it will say so
        return None
    return Container(path, facts, unread, digest, identity)


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


def _read_head(path: Path, file: BinaryIO) -> bytes:
    """The header of a file that has the size that it says."""
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
    return head


def _read_body(path: Path, file: BinaryIO, head: bytes) -> bytes:
    """What follows the header, with the right checksum."""
    from hashlib import sha256  # 3 ms: not for who knows the file

    size = _HEAD.unpack_from(head)[2]
    wanted, digest = head[_HEAD.size :], sha256(head[: _HEAD.size])
    if size > _AT_ONCE:  # a sparse file would fill the memory before its checksum is wrong
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        _compare(path, digest.digest(), wanted)
        file.seek(_START)
        digest = sha256(head[: _HEAD.size])
    body = file.read(size)
    digest.update(body)
    _compare(path, digest.digest(), wanted)
    return body


def _compare(path: Path, digest: bytes, wanted: bytes) -> None:
    if digest != wanted:
        raise SnapshotError(path, f"is damaged: its checksum is wrong; {_AGAIN}")


_Places = dict[str, tuple[int, int]]
"""Start and end of each section behind the header."""


def _parse(path: Path, head: bytes, body: bytes | memoryview) -> tuple[dict[str, Any], _Places]:
    """Facts, and where the sections are, of a ``body`` that has at least the directory."""
    found = Container(path, {}, {})
    _, _, size, at = _HEAD.unpack_from(head)
    size -= _START
    if at > min(size, _LARGEST_DIRECTORY):
        raise found.damaged("its directory is longer than the file")
    places: _Places = {}
    try:
        directory = json.loads(bytes(body[:at]))
        facts = directory["facts"]
        for name, length in directory["sections"]:
            if type(length) is not int or not 0 <= length <= size - at or name in places:
                raise found.damaged(f"its section {name!r} cannot be")
            places[name] = at, at + length
            at += length
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise found.damaged(f"its directory cannot be read ({error!r})") from error
    if not isinstance(facts, dict) or at != size:
        raise found.damaged("its directory says otherwise than its content")
    return facts, places


class _Unread(Mapping[str, memoryview]):
    """The sections of a file that was checked before, each read when it is asked for."""

    def __init__(self, path: Path, descriptor: int, identity: Identity) -> None:
        self._path = path
        self._descriptor = descriptor
        self._identity = identity
        self.places: _Places = {}
        weakref.finalize(self, os.close, descriptor)

    def __getitem__(self, name: str) -> memoryview:
        start, end = self.places[name]
        return memoryview(self.read(start, end - start))

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def _is_as_it_was(self) -> bool:
        """Whether nobody has written to it; that its name went to another file is no harm."""
        status = os.fstat(self._descriptor)
        found = Identity.of_status(status)
        if not status.st_nlink:
            found = found._replace(changed=self._identity.changed)
        return found == self._identity

    def read(self, start: int, size: int) -> bytes:
        """So many bytes behind the header; raises :class:`SnapshotError`."""
        parts, at, end = [b""], _START + start, _START + start + size
        try:
            while at < end and (part := os.pread(self._descriptor, end - at, at)):
                parts.append(part)
                at += len(part)
            same = self._is_as_it_was()
        except OSError as error:
            raise SnapshotError(self._path, f"cannot be read: {error.strerror}") from error
        if at != end or not same:
            raise SnapshotError(
                self._path,
                "has been written to since it was opened; resume it again, and take snapshots to "
                "files of other names",
            )
        return parts[1] if len(parts) == 2 else b"".join(parts)


class Slices:
    """A section of a file that is read slice by slice; raises :class:`SnapshotError`."""

    def __init__(self, unread: _Unread, name: str) -> None:
        self._unread = unread
        self._start, self._end = unread.places[name]

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, where: slice) -> bytes:
        start, end, _ = where.indices(len(self))
        return self._unread.read(self._start + start, max(end - start, 0))


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
        from hashlib import sha256

        digest = sha256(head)
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
