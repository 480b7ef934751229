"""The file with a kernel's debug information, read once by symbolic and kept as its SymCache."""

from __future__ import annotations

import hashlib
import io
import logging
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kprobesim.errors import DebugInfoError, ImageError, UsageError
from kprobesim.functions.dwarf.symcache import SymCache
from kprobesim.image import KernelImage, load_image
from kprobesim.image.cache import make_room
from kprobesim.image.elf import ELF_MAGIC
from kprobesim.image.files.containers import unpack
from kprobesim.image.files.source import open_file
from kprobesim.snapshot.container import Identity, is_snapshot
from kprobesim.user_cache import cache_directory

if TYPE_CHECKING:
    from symbolic import SymCache as Made

__all__ = ["debug_path", "elf_file", "has_dwarf", "is_own_file", "open_symcache"]

_log = logging.getLogger(__name__)

_INSTALL = "install it with: pip install 'kprobesim[dwarf]'"
_ENDING = ".symcache"
_SOUND = ".sound"
_DAY = 86_400_000_000_000  # nanoseconds
_CATALOGUE = b"PAR1"
_CHUNK = 1 << 24
_CHECKSUM = hashlib.sha256().digest_size


def has_dwarf(image: KernelImage) -> bool:
    """Whether ``image`` was loaded from an ELF file with debug information."""
    return any(section.name == ".debug_info" for section in image.section_headers)


def debug_path(debug: str | os.PathLike[str] | None) -> Path | None:
    """What ``debug=`` of a verb names; raises :class:`UsageError` for what is no path."""
    if debug is None:
        return None
    if not isinstance(debug, (str, os.PathLike)) or not isinstance(os.fspath(debug), str):
        raise UsageError(f"debug is of type {type(debug).__name__}: name a file")
    return Path(debug)


def open_symcache(
    image: KernelImage,
    debug: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> SymCache | None:
    """What the debug information says of inlined copies.

    It is in ``debug``, a vmlinux or a package with one, or in the image's own file. ``None`` if
    neither has any, or if only the image has and symbolic is not installed.

    Raises:
        ImageError: ``debug`` has none, is of another build, or is damaged.
        UsageError: symbolic is not installed, or ``debug`` is no path.
    """
    debug = debug_path(debug)
    path = debug or image.path
    own = image if debug is None else load_image(path, progress=progress)
    if not has_dwarf(own):
        if debug is None:
            return None
        raise ImageError(path, "has no debug information: name the vmlinux of the -dbg package")
    if debug is not None:
        _same_build(image, own)
    try:
        import symbolic
    except ImportError:
        if debug is not None:
            raise UsageError(f"debug information is read by symbolic; {_INSTALL}") from None
        _log.warning("%s has debug information, which is not read: %s", path, _INSTALL)
        return None
    entry = _entry(own, path, symbolic.SYMCACHE_LATEST_VERSION)
    kept = _kept(entry)
    if kept is not None:
        return kept
    if debug is None and not is_own_file(path):
        return None
    if progress is not None:
        progress(f"reading the debug information of {path.name}")
    try:
        with elf_file(path, progress) as file:
            found = next(iter(symbolic.Archive.open(str(file)).iter_objects()), None)
            if found is None:
                raise ImageError(path, "has no debug information that symbolic finds")
            data = _bytes(found.make_symcache())
        cache = SymCache(data)
    except (symbolic.SymbolicError, DebugInfoError) as error:
        raise ImageError(path, f"has debug information that cannot be read: {error}") from None
    if entry is not None:
        _keep(entry, data)
    return cache


def is_own_file(path: Path) -> bool:
    """Whether the image's file is there: snapshots and catalogues have only what is loaded."""
    if not path.is_file() or is_snapshot(path):
        return False
    with path.open("rb") as file:
        return file.read(len(_CATALOGUE)) != _CATALOGUE


@contextmanager
def elf_file(path: Path, progress: Callable[[str], None] | None) -> Iterator[Path]:
    """The ELF file at ``path``, or what is packed there in a file of its own, for a while."""
    data = open_file(path)
    if bytes(data[: len(ELF_MAGIC)]) == ELF_MAGIC:
        yield path
        return
    unpacked = unpack(path, data, progress).data
    with tempfile.NamedTemporaryFile(prefix="kprobesim-") as file:
        for at in range(0, len(unpacked), _CHUNK):
            file.write(unpacked[at : at + _CHUNK])
        file.flush()
        yield Path(file.name)


def _same_build(image: KernelImage, debug: KernelImage) -> None:
    """Refuse debug information of another kernel."""
    ours, theirs = image.build_id, debug.build_id
    same = ours == theirs if ours and theirs else image.banner == debug.banner
    if not same:
        raise ImageError(
            debug.path,
            f"is of another build ({debug.release or 'no release'}, build {theirs or 'unknown'}) "
            f"than {image.path.name} ({image.release or 'no release'}, {ours or 'unknown'})",
        )


def _bytes(made: Made) -> bytes:
    file = io.BytesIO()
    made.dump_into(file)
    return file.getvalue()


def _entry(image: KernelImage, path: Path, version: int) -> Path | None:
    """Where it is kept; named after the build, or after the file if that has no build ID."""
    folder = cache_directory()
    if folder is None:
        return None
    which = image.build_id
    if which is None:
        status = path.stat()
        which = f"{path.resolve()} {status.st_mtime_ns} {status.st_size}"
    text = f"{which} {version}"
    return folder / (hashlib.sha256(text.encode()).hexdigest() + _ENDING)


def _kept(entry: Path | None) -> SymCache | None:
    """What was kept, mapped; ``None`` if nothing was, or it is damaged.

    Its checksum, 0.2 s for a kernel, is computed once: the file is the same as long as its times
    are. They are changed, which says when it was used last, once a day.
    """
    if entry is None or not entry.is_file():
        return None
    try:
        with entry.open("rb") as file:
            identity = Identity.of(file.fileno())
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        data, checksum = mapped[:-_CHECKSUM], mapped[-_CHECKSUM:]
        sound = entry.with_suffix(_SOUND)
        known = sound.is_file() and sound.read_text() == repr(identity)
        if not known and hashlib.sha256(data).digest() != checksum:
            raise DebugInfoError("damaged: its checksum differs")
        cache = SymCache(data)
        now = time.time_ns()
        if now - identity.written > _DAY:
            os.utime(entry)
        elif not known and identity.is_settled(now):
            sound.write_text(repr(identity))
    except (DebugInfoError, OSError, ValueError) as error:
        _log.info("debug information is read anew: %s", error)
        return None
    return cache


def _keep(entry: Path, data: bytes) -> None:
    unfinished = entry.with_name(f"{entry.name}.{os.getpid()}.kps")
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.write_bytes(data + hashlib.sha256(data).digest())
        unfinished.replace(entry)
        make_room(entry)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        _log.info("what symbolic read is not kept: %s", error)
