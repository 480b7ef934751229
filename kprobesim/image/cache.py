"""What was unpacked once: a second command on the same package starts in no time.

Taking a kernel out of a package and its symbols out of the kernel costs a second or more, and
what comes out is always the same. So it is kept in the user's cache directory, as a snapshot keeps
an image (and the modules beside it, when some were asked for), under a name made from the package's
content and from the code that has read it: what changes is another entry, and nothing is ever out
of date. Entries appear whole or not at all; each has a checksum, and one that is damaged is made
anew. Those not used for longest are deleted when all together exceed 2 GiB.

The environment variable KPROBESIM_CACHE names another directory, or is ``off``. Where nothing can
be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from kprobesim.errors import ImageError, SnapshotError
from kprobesim.image.files.source import Buffer, FileBytes
from kprobesim.snapshot.container import Container, read_container, write_container
from kprobesim.user_cache import ABANDONED, MOST, cache_directory

__all__ = [
    "code_stamp",
    "content_key",
    "entry_beside",
    "entry_for",
    "keep",
    "keep_in",
    "make_room",
    "note_use",
    "write_entry",
]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_ENDING = ".kpi"
_USED = ".used"
_READERS = "image"
_CHUNK = 1 << 20


def keep(
    data: Buffer,
    what: str,
    read: Callable[[Container], _T],
    make: Callable[[], _T],
    pack: Callable[[_T], tuple[dict[str, Any], dict[str, bytes]] | None],
) -> _T:
    """What was kept of a file, or what is made of it now, and kept.

    Args:
        data: The file's bytes.
        what: Names which of the things that can be made of it.
        read: Makes it of an entry; may raise SnapshotError for one that makes no sense.
        make: Makes it of the file.
        pack: Gives facts and sections of an entry, or ``None`` for what is not to be kept.
    """
    entry = entry_for(data, what)
    return make() if entry is None else keep_in(entry, read, make, pack)


def entry_for(data: Buffer, what: str) -> Path | None:
    """The file in which something that is made of ``data`` is kept; ``None``: it is not."""
    folder = cache_directory()
    return None if folder is None else folder / f"{content_key(data)}.{what}{_ENDING}"


def entry_beside(entry: Path, name: str) -> Path:
    """The file in which something else of the same content is kept."""
    return entry.with_name(f"{entry.stem}.{name}{_ENDING}")


def keep_in(
    entry: Path,
    read: Callable[[Container], _T],
    make: Callable[[], _T],
    pack: Callable[[_T], tuple[dict[str, Any], dict[str, bytes]] | None],
) -> _T:
    """What ``entry`` keeps, or what is made now, and kept there; arguments as for :func:`keep`."""
    if entry.is_file():
        try:
            kept = read(read_container(entry))
            os.utime(entry)
        except (SnapshotError, OSError) as error:
            _log.info("what was unpacked is made anew: %s", error)
        else:
            return kept
    made = make()
    try:
        packed = pack(made)
    except ImageError:
        return made  # damaged where symbols are: whoever asks for them will be told
    if packed is not None:
        write_entry(entry, *packed)
    return made


def content_key(data: Buffer) -> str:
    """Names the content of ``data``, as this code reads it."""
    return hashlib.sha256(f"{code_stamp(_READERS)} {_digest(data)}".encode()).hexdigest()


def _digest(data: Buffer) -> str:
    """The SHA-256; of a file that nobody has written to since, at once.

    A package is opened by who wants its kernel, its modules, its configuration.
    """
    identity = data.identity() if isinstance(data, FileBytes) else None
    known = None if identity is None else _digests.get(identity)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for at in range(0, len(data), _CHUNK):
        digest.update(data[at : at + _CHUNK])
    if identity is not None:
        _digests[identity] = digest.hexdigest()
    return digest.hexdigest()


_digests: dict[tuple[int, ...], str] = {}


@cache
def code_stamp(*rooms: str) -> str:
    """Names this version of the code in ``rooms`` of this package."""
    house = Path(__file__).parents[1]
    files = sorted(file for room in rooms for file in (house / room).rglob("*.py"))
    stats = ((file.relative_to(house), file.stat()) for file in files)
    found = [(str(file), s.st_size, s.st_mtime_ns) for file, s in stats]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def write_entry(entry: Path, facts: dict[str, Any], sections: dict[str, bytes]) -> None:
    """Make or replace ``entry``, if there is a place for it."""
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_container(entry, facts, sections, durable=False)
        make_room(entry)
    except (SnapshotError, OSError) as error:
        _log.info("what was unpacked is not kept: %s", error)


def note_use(entry: Path) -> None:
    """Say in a file beside ``entry`` that it was used now, for :func:`make_room`.

    Nothing happens to the entry itself: somebody may have it open who reads it bit by bit, and who
    could not tell that from another content.
    """
    entry.with_suffix(_USED).touch(mode=0o600)


def _last_use(entry: Path, status: os.stat_result) -> float:
    try:
        return max(status.st_mtime, entry.with_suffix(_USED).stat().st_mtime)
    except OSError:
        return status.st_mtime


def make_room(newest: Path) -> None:
    """Delete entries beside and like ``newest`` that were not used for longest.

    All together then have at most 2 GiB. What nobody finishes writing is deleted, too.
    """
    entries = []
    for file in newest.parent.iterdir():
        try:
            status = file.stat()
        except FileNotFoundError:  # another process makes room, too
            continue
        if file.name.startswith("."):  # it is being written
            if status.st_mtime < time.time() - ABANDONED:
                file.unlink(missing_ok=True)
        elif file.suffix == newest.suffix:
            entries.append((_last_use(file, status), status.st_size, file))
    room = MOST
    for _, size, file in sorted(entries, reverse=True):
        room -= size
        if room < 0 and file != newest:
            file.unlink(missing_ok=True)
            file.with_suffix(_USED).unlink(missing_ok=True)
