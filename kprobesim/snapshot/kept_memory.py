"""A snapshot's memory, unpacked once: who resumes it again maps a file, and nothing is copied.

There are two files in the user's cache, named after the snapshot's SHA-256. ``.ram`` is the memory
as it was, with holes. ``.ram.json`` tells where it is not zero, the identity of the first file, and
those of the snapshots whose checksum was right: what has been written to since has another, and is
checked and unpacked anew. Both appear whole; of two processes that write them the later one wins.
Those not used for longest are deleted when all together take 2 GiB.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import time
from binascii import crc32
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kprobesim.sizes import PAGE
from kprobesim.snapshot.container import Container, Identity
from kprobesim.user_cache import ABANDONED, MOST, cache_directory

__all__ = ["KeptMemory", "Ranges"]

_log = logging.getLogger(__name__)

Ranges = Sequence[tuple[int, int]]
"""Start and end of each, in ascending order."""

_FORMAT = 1
_MEMORY, _RECORD = ".ram", ".ram.json"
_MOST_SNAPSHOTS = 16
_CHUNK = 1 << 20


class _Record(NamedTuple):
    """What is kept: the memory's ``size`` and ``ranges``, its file, and sound snapshots."""

    size: int
    ranges: list[tuple[int, int]]
    file: Identity
    sound: list[Identity]


class KeptMemory:
    """The memory of one snapshot, if it is kept, or when it is."""

    def __init__(self) -> None:
        self._folder = cache_directory()
        self._digest = b""
        self._record: _Record | None = None
        self._started = time.time_ns()

    def knows(self, digest: bytes, identity: Identity) -> bool:
        """Whether the snapshot of this identity was checked, and its memory is kept."""
        self._look(digest)
        return self._record is not None and identity in self._record.sound

    def open(self, container: Container, size: int) -> tuple[int, Ranges] | None:
        """A descriptor of the memory, and where it is not zero; ``None``: it is not kept.

        Args:
            container: The snapshot, which was checked.
            size: The bytes of its memory.
        """
        if self._digest != container.digest:
            self._look(container.digest)
        record = self._record
        if record is None or record.size != size:
            return None
        try:
            descriptor = os.open(self._path(_MEMORY), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        if Identity.of(descriptor) != record.file:
            os.close(descriptor)
            return None
        with suppress(OSError):
            if container.identity not in record.sound:
                self._write_record(record, container)
            else:
                os.utime(self._path(_RECORD))
        return descriptor, record.ranges

    def keep(self, container: Container, ram: mmap.mmap, ranges: Ranges) -> None:
        """Keep the memory ``ram`` of ``container``, all of which is zero but for ``ranges``."""
        if self._folder is None or sum(end - start for start, end in ranges) > MOST // 2:
            return
        self._digest = container.digest
        new = self._folder / f".{os.urandom(8).hex()}{_MEMORY}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            try:
                os.ftruncate(descriptor, len(ram))
                with memoryview(ram) as view:
                    for start, end in ranges:
                        for at in range(start, end, _CHUNK):
                            os.pwrite(descriptor, view[at : min(at + _CHUNK, end)], at)
                new.replace(self._path(_MEMORY))
                file = Identity.of(descriptor)
            finally:
                os.close(descriptor)
            self._write_record(_Record(len(ram), [*ranges], file, []), container)
            self._make_room()
        except OSError as error:
            _log.info("the unpacked memory is not kept: %s", error)
            with suppress(OSError):
                new.unlink(missing_ok=True)

    def _path(self, ending: str) -> Path:
        assert self._folder is not None
        return self._folder / (self._digest.hex() + ending)

    def _look(self, digest: bytes) -> None:
        """Read what is said of the snapshot with this checksum."""
        self._digest, self._record = digest, None
        if self._folder is None:
            return
        try:
            packed = self._path(_RECORD).read_bytes()
            file = self._path(_MEMORY).stat()
        except OSError:
            return
        record = _parse(packed)
        if record is None:
            _log.info("what is kept of a snapshot's memory is damaged, and made anew")
        elif record.file == Identity.of_status(file):
            self._record = record

    def _write_record(self, record: _Record, container: Container) -> None:
        """With the file of ``container`` among those that are sound."""
        sound = record.sound
        identity = container.identity
        if identity is not None and identity.is_settled(self._started):
            sound = [identity, *sound][:_MOST_SNAPSHOTS]
        content = json.dumps([_FORMAT, *record._replace(sound=sound)]).encode()
        new = self._path(_RECORD).with_name(f".{os.urandom(8).hex()}{_RECORD}")
        try:
            new.write_bytes(b"%08x" % crc32(content) + content)
            new.replace(self._path(_RECORD))
        except BaseException:
            new.unlink(missing_ok=True)
            raise

    def _make_room(self) -> None:
        """Delete what was not used for longest, until the rest has room, and what nobody ends."""
        assert self._folder is not None
        given_up = time.time() - ABANDONED
        kept = []
        for file in self._folder.glob(f"*{_MEMORY}"):
            record = file.with_name(file.name.removesuffix(_MEMORY) + _RECORD)
            with suppress(FileNotFoundError):  # another process makes room, too
                status = file.stat()
                used = record.stat().st_mtime if record.exists() else status.st_mtime
                if file.name.startswith("."):
                    if used < given_up:
                        file.unlink()
                else:
                    kept.append((used, status.st_blocks * 512, file, record))
        room = MOST
        for _, size, file, record in sorted(kept, reverse=True):
            room -= size
            if room < 0 and file != self._path(_MEMORY):
                record.unlink(missing_ok=True)
                file.unlink(missing_ok=True)


def _parse(packed: bytes) -> _Record | None:
    """What a record says; ``None`` if it is damaged, or of another version."""
    content = packed[8:]
    if packed[:8] != b"%08x" % crc32(content):
        return None
    form, *fields = json.loads(content)
    if form != _FORMAT:
        return None
    size, ranges, file, sound = fields
    if not all(0 <= start < end <= size and not start % PAGE for start, end in ranges):
        return None
    return _Record(
        size,
        [(start, end) for start, end in ranges],
        Identity(*file),
        [Identity(*s) for s in sound],
    )
